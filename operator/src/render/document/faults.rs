//! Faults: as a plan says them, as sidecars read them; and back.

use shop_contract as contract;
use shop_release::{Fault, FaultEnd};

pub(super) fn fault(fault: &Fault) -> contract::Fault {
    let Fault { policy, until_unix_ms, share, path, method, headers, dependency, delay, end } = fault.clone();
    let headers = headers.into_iter().map(|(name, value)| contract::Pair { name, value }).collect();
    let matches = contract::FaultMatch { path, method, headers };
    contract::Fault {
        policy,
        until_unix_ms,
        share,
        matches: (matches != contract::FaultMatch::default()).then_some(matches),
        dependency,
        delay: delay.map(|(fixed_ms, jitter_ms)| contract::Delay { fixed_ms, jitter_ms }),
        end: end.map(|end| match end {
            FaultEnd::Abort { status, grpc } => contract::FaultEnd::Abort { status, grpc_status: grpc },
            FaultEnd::Drop => contract::FaultEnd::Drop,
        }),
    }
}

pub(super) fn stored(fault: &contract::Fault) -> Fault {
    let contract::Fault { policy, until_unix_ms, share, matches, dependency, delay, end } = fault.clone();
    let contract::FaultMatch { path, method, headers } = matches.unwrap_or_default();
    Fault {
        policy,
        until_unix_ms,
        share,
        path,
        method,
        headers: headers.into_iter().map(|pair| (pair.name, pair.value)).collect(),
        dependency,
        delay: delay.map(|delay| (delay.fixed_ms, delay.jitter_ms)),
        end: end.map(|end| match end {
            contract::FaultEnd::Abort { status, grpc_status } => {
                FaultEnd::Abort { status, grpc: grpc_status }
            }
            contract::FaultEnd::Drop => FaultEnd::Drop,
        }),
    }
}
