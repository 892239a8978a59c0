//! Hosts outside, by TLS: calls of the app, and keys for tokens.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shop_contract::{Dependency, DependencyTls, JwtKeys};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::authority::Authority;
use super::outbound::{door, reason};
use crate::auth::signer::{Signer, auth, now};
use crate::outbound::pods::{self, Dns};
use crate::support::client::{Http1, Http2};
use crate::support::{Around, Keys, Pod, TestApp, document, text, within};

/// A host of the world outside, for this name.
struct Host {
    port: u16,
    roots: TempDir,
    _task: AbortOnDropHandle<()>,
}

impl Host {
    async fn start(ip: Ipv4Addr, name: &str, says: Option<Vec<u8>>) -> Self {
        let authority = Authority::new();
        let name = rcgen::SanType::DnsName(name.to_owned().try_into().expect("name"));
        let leaf = authority.issue_with("host", |asked| asked.subject_alt_names = vec![name]);
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).expect("certificate")];
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("key");
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("fits");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((ip, 0)).await.expect("listening");
        let port = listener.local_addr().expect("address").port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, says) = (acceptor.clone(), says.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let asked = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
                    let service =
                        hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            let said = format!("{asked} {:?}", request.version());
                            let answer = text(says.clone().unwrap_or(said.into_bytes()));
                            async move { Ok::<_, Infallible>(answer) }
                        });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let roots = TempDir::new().expect("folder");
        std::fs::write(roots.path().join("roots.pem"), authority.root()).expect("written");
        Self { port, roots, _task: AbortOnDropHandle::new(task) }
    }

    fn roots(&self) -> std::path::PathBuf {
        self.roots.path().join("roots.pem")
    }
}

#[tokio::test]
async fn a_host_outside_must_be_the_one_that_was_asked_for() {
    let (dns, ip, keys) = (Dns::start().await, pods::address(), Keys::new());
    dns.set("pay.example.com", &[ip]);
    let host = Host::start(ip, "pay.example.com", None).await;
    let start = async |name: &str, more_roots| {
        let pay = Dependency {
            host: Some(format!("pay.example.com:{}", host.port)),
            tls: Some(DependencyTls::Host(name.to_owned())),
            ..Dependency::new("pay")
        };
        let document = shop_contract::Document { depends_on: vec![pay], ..document(7, 1, &keys) };
        Pod::around(document, &keys, Around { dns: Some(dns.address), more_roots, ..Around::default() }).await
    };
    let ask = async |pod: &Pod| {
        let mut app = Http1::connect(door(pod)).await;
        app.write("GET / HTTP/1.1\r\nhost: pay\r\n\r\n").await;
        app.answer().await
    };
    let pod = start("pay.example.com", Some(host.roots())).await;
    assert_eq!(ask(&pod).await.body, "pay.example.com HTTP/1.1");
    let request = Request::get("http://pay/").body(Empty::<bytes::Bytes>::new()).expect("request");
    let response: Response<_> = Http2::connect(door(&pod)).await.send(request).await;
    let body = within(response.into_body().collect()).await.expect("body").to_bytes();
    assert_eq!(&*body, b"pay.example.com HTTP/2.0");
    for (name, roots) in [("other.example.com", Some(host.roots())), ("pay.example.com", None)] {
        let answer = ask(&start(name, roots).await).await;
        assert_eq!((answer.status, reason(&answer)), (503, "dependency-unreachable"), "{name}");
    }
}

/// In an image made of nothing: the roots are those of the program and of the file.
#[tokio::test]
async fn keys_for_tokens_come_over_https() {
    let (dns, ip, keys) = (Dns::start().await, pods::address(), Keys::new());
    let (app, signer) = (TestApp::saying("in").await, Signer::eddsa());
    dns.set("user.example.com", &[ip]);
    let host = Host::start(ip, "user.example.com", Some(signer.set("k1"))).await;
    for (more_roots, status) in [(Some(host.roots()), 200), (None, 503)] {
        let url = format!("https://user.example.com:{}/jwks.json", host.port);
        let document =
            shop_contract::Document { auth: Some(auth(JwtKeys::Jwks(url))), ..document(7, app.port, &keys) };
        let around = Around { dns: Some(dns.address), more_roots, ..Around::default() };
        let pod = Pod::around(document, &keys, around).await;
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        let token = signer.token("k1", "u-1", now());
        caller
            .write(&format!("GET / HTTP/1.1\r\nhost: order\r\nauthorization: Bearer {token}\r\n\r\n"))
            .await;
        assert_eq!(caller.answer().await.status, status);
    }
}
