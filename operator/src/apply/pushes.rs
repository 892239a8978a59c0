//! What sidecars are told at once, beside the files that they are mounted.

use jiff::Timestamp;
use shop_release::{EndpointsAcknowledged, PodTarget, Write};

use super::Application;
use crate::{memory, sidecars::SidecarError};

impl Application<'_> {
    pub(super) async fn push_document(&mut self, revision: i64, generation: i64, pods: &[PodTarget]) {
        let document = self.documents.get(&revision).cloned().or_else(|| self.sight.document(revision));
        // Without it, or with another one, the next plan writes it first.
        let Some(document) = document.filter(|document| document.generation == generation) else { return };
        self.push(&shop_contract::Push::Document(document), pods, None).await;
    }

    pub(super) async fn push_endpoints(&mut self, write: &Write) {
        let Write::PushEndpoints { revision, to_revision, addresses, pods } = write else { return };
        let owner = self.sight.owner;
        let to_peers = revision == to_revision;
        let port = if to_peers { shop_contract::ports::ADMIN } else { shop_contract::ports::INBOUND };
        let endpoints = shop_contract::Endpoints {
            identity: shop_contract::Identity {
                namespace: owner.namespace.clone(),
                service: owner.service.clone(),
                service_uid: owner.uid.clone(),
                revision: *revision,
            },
            leader_epoch: owner.epoch,
            sequence: self.tools.sidecars.next_sequence(),
            to_revision: *to_revision,
            addresses: addresses.iter().map(|ip| std::net::SocketAddr::new(*ip, port)).collect(),
        };
        let sent = EndpointsAcknowledged {
            to_revision: *to_revision,
            addresses: addresses.iter().copied().collect(),
        };
        let push = if to_peers {
            shop_contract::Push::Peers(endpoints)
        } else {
            shop_contract::Push::Endpoints(endpoints)
        };
        self.push(&push, pods, Some(sent)).await;
    }

    async fn push(
        &mut self,
        push: &shop_contract::Push,
        pods: &[PodTarget],
        endpoints: Option<EndpointsAcknowledged>,
    ) {
        if !self.tools.leadership.holds(self.sight.owner.epoch) {
            return;
        }
        let pods: Vec<&PodTarget> = pods.iter().filter(|pod| !self.silent.contains(&pod.uid)).collect();
        let addresses: Vec<_> = pods.iter().map(|pod| pod.ip).collect();
        let answers = self.tools.sidecars.push(push, &addresses, self.push_timeout).await;
        for (target, answer) in pods.into_iter().zip(answers) {
            if answer.is_err() {
                self.silent.insert(target.uid.clone());
            }
            let Some(pod) = self.observed.pods.iter().find(|pod| pod.uid == target.uid) else { continue };
            let endpoints = endpoints.clone();
            let told = self.memory.learn(pod, |view| match answer {
                Ok(answer) => {
                    memory::acknowledged(view, &answer);
                    match answer.refused {
                        Some(why) => memory::push_failed(view, Timestamp::now(), format!("refused: {why}")),
                        None => endpoints.into_iter().for_each(|told| view.told(pod.revision, told)),
                    }
                }
                Err(error) => memory::push_failed(view, Timestamp::now(), unreachable(&error)),
            });
            let failed = self.memory.sidecar(pod).failed.is_some();
            self.applied.learnt |= told && !failed;
        }
    }
}

fn unreachable(error: &SidecarError) -> String {
    format!("port {}: {error}", shop_contract::ports::ADMIN)
}
