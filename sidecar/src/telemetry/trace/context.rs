//! Trace context of a request: read from `traceparent` (W3C Trace Context) or B3, written as what came and as `traceparent`.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The caller may have recorded its span.
pub const SAMPLED: u8 = 1;
/// The trace's id is random (level 2 of W3C Trace Context).
pub const RANDOM: u8 = 2;
/// Length of version 00 of `traceparent`.
const LENGTH: usize = 55;

/// What a request says of the trace it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Never zero.
    pub trace_id: u128,
    /// The caller's span.
    pub parent: u64,
    /// [`SAMPLED`] and [`RANDOM`].
    pub flags: u8,
    /// By which fields.
    pub format: Format,
}

/// How a context is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `traceparent`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and its like.
    B3Fields,
}

/// The context in these fields; `traceparent` wins.
pub fn read(fields: &HeaderMap) -> Option<Context> {
    traceparent(fields).or_else(|| b3(fields)).or_else(|| b3_fields(fields))
}

/// The context in `traceparent`, unless it is there twice or cannot be read.
pub fn traceparent(fields: &HeaderMap) -> Option<Context> {
    let value = only(fields, &TRACEPARENT)?;
    let version = hex(value.get(..2)?)?;
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    // Later versions may add to the end, and only after another dash.
    let ends =
        if version == 0 { value.len() == LENGTH } else { value.get(LENGTH).is_none_or(|next| *next == b'-') };
    let flags = u8::try_from(hex(value.get(53..LENGTH)?)?).ok()? & (SAMPLED | RANDOM);
    let (trace_id, parent) = (hex(value.get(3..35)?)?, span_id(value.get(36..52)?)?);
    let sound = version != 0xff && dashes && ends && trace_id != 0;
    sound.then_some(Context { trace_id, parent, flags, format: Format::W3c })
}

/// `b3: trace-span[-sampled[-parent]]`; one that says no more than whether to sample is none.
fn b3(fields: &HeaderMap) -> Option<Context> {
    let mut parts = only(fields, &B3)?.split(|byte| *byte == b'-');
    let (trace_id, parent) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let flags = if matches!(parts.next(), Some(b"1" | b"d")) { SAMPLED } else { 0 };
    Some(Context { trace_id, parent, flags, format: Format::B3 })
}

fn b3_fields(fields: &HeaderMap) -> Option<Context> {
    let (trace_id, parent) = (trace_id(only(fields, &B3_TRACE)?)?, span_id(only(fields, &B3_SPAN)?)?);
    let says = |name: &HeaderName| fields.get(name).map(HeaderValue::as_bytes);
    let sampled = matches!(says(&B3_SAMPLED), Some(b"1" | b"true")) || says(&B3_FLAGS) == Some(b"1");
    Some(Context { trace_id, parent, flags: u8::from(sampled), format: Format::B3Fields })
}

/// Tells whoever gets the request next that `span_id` is its parent. What came in B3 is brought up to date there too. `came` is
/// what [`read`] found; without it `tracestate`, if any, belongs to nothing.
pub fn write(fields: &mut HeaderMap, came: Option<&Context>, trace_id: u128, span_id: u64, flags: u8) {
    fields.insert(TRACEPARENT, traceparent_of(trace_id, span_id, flags));
    let Some(came) = came else {
        fields.remove(TRACESTATE);
        return;
    };
    let text = |text: String| HeaderValue::try_from(text).ok();
    match came.format {
        Format::W3c => {}
        Format::B3 => {
            let sampled = flags & SAMPLED;
            let single = format!("{trace_id:032x}-{span_id:016x}-{sampled}-{:016x}", came.parent);
            text(single).map(|single| fields.insert(B3, single));
        }
        Format::B3Fields => {
            text(format!("{span_id:016x}")).map(|span| fields.insert(B3_SPAN, span));
            text(format!("{:016x}", came.parent)).map(|parent| fields.insert(B3_PARENT, parent));
        }
    }
}

fn traceparent_of(trace_id: u128, span_id: u64, flags: u8) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    put_hex(text.get_mut(3..35), trace_id);
    put_hex(text.get_mut(36..52), span_id.into());
    put_hex(text.get_mut(53..55), flags.into());
    // Never the other value: digits, letters and dashes.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("00"))
}

fn put_hex(places: Option<&mut [u8]>, mut value: u128) {
    for place in places.into_iter().flatten().rev() {
        let digit = (value & 15) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        value >>= 4;
    }
}

/// The value of a field that is there once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn trace_id(text: &[u8]) -> Option<u128> {
    // B3 knows ids of 64 bits too.
    let known = matches!(text.len(), 16 | 32);
    hex(text).filter(|id| known && *id != 0)
}

fn span_id(text: &[u8]) -> Option<u64> {
    let id = hex(text).filter(|id| text.len() == 16 && *id != 0)?;
    u64::try_from(id).ok()
}

/// Lower-case digits only, as all formats say.
fn hex(text: &[u8]) -> Option<u128> {
    if !(1..=32).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    const SPAN: u64 = 0xb7ad_6b71_6920_3331;
    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, value.parse().expect("value"));
        }
        fields
    }

    fn context(format: Format, flags: u8) -> Context {
        Context { trace_id: TRACE, parent: SPAN, flags, format }
    }

    #[test]
    fn all_formats_are_read() {
        let long = "0af7651916cd43dd8448eb211c80319c";
        for (pairs, expected) in [
            (vec![("traceparent", W3C)], Some(context(Format::W3c, SAMPLED))),
            (vec![("traceparent", &W3C.replace("-01", "-ff"))], Some(context(Format::W3c, SAMPLED | RANDOM))),
            (vec![("traceparent", &format!("cc{}-more", &W3C[2..]))], Some(context(Format::W3c, SAMPLED))),
            (vec![("b3", &format!("{long}-b7ad6b7169203331"))], Some(context(Format::B3, 0))),
            (
                vec![("b3", &format!("{long}-b7ad6b7169203331-d-05e3ac9a4f6e3b90"))],
                Some(context(Format::B3, SAMPLED)),
            ),
            (
                vec![("x-b3-traceid", long), ("x-b3-spanid", "b7ad6b7169203331"), ("x-b3-sampled", "1")],
                Some(context(Format::B3Fields, SAMPLED)),
            ),
            (vec![("traceparent", W3C), ("b3", "1-2")], Some(context(Format::W3c, SAMPLED))),
            (vec![("b3", "0")], None),
            (vec![("x-b3-sampled", "1")], None),
            (vec![], None),
        ] {
            assert_eq!(read(&fields(&pairs)), expected, "{pairs:?}");
        }
        let short = read(&fields(&[("b3", "8448eb211c80319c-b7ad6b7169203331-1")])).expect("64 bits");
        assert_eq!(short.trace_id, 0x8448_eb21_1c80_319c);
    }

    #[test]
    fn what_is_no_context_is_none() {
        for bad in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(&fields(&[("traceparent", bad)])), None, "{bad}");
        }
        assert_eq!(read(&fields(&[("traceparent", W3C), ("traceparent", W3C)])), None, "twice");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for came in [
            vec![("traceparent", W3C), ("tracestate", "vendor=1")],
            vec![("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")],
            vec![
                ("x-b3-traceid", "0af7651916cd43dd8448eb211c80319c"),
                ("x-b3-spanid", "b7ad6b7169203331"),
                ("x-b3-flags", "1"),
            ],
        ] {
            let mut fields = fields(&came);
            let read_first = read(&fields).expect("context");
            write(&mut fields, Some(&read_first), TRACE, 7, read_first.flags);
            assert_eq!(
                fields.get("traceparent").expect("W3C"),
                &W3C.replace("b7ad6b7169203331", "0000000000000007")
            );
            fields.remove("traceparent");
            if read_first.format == Format::W3c {
                assert_eq!(fields.get("tracestate").expect("kept"), "vendor=1");
            } else {
                assert_eq!(read(&fields), Some(Context { parent: 7, ..read_first }));
            }
        }
        let mut fields = fields(&[("traceparent", "none"), ("traceparent", W3C), ("tracestate", "vendor=1")]);
        write(&mut fields, None, TRACE, SPAN, SAMPLED);
        assert_eq!(fields.get_all("traceparent").iter().collect::<Vec<_>>(), [W3C]);
        assert!(!fields.contains_key("tracestate"));
    }
}
