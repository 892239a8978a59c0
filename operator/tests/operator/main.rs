//! The whole operator against an API server in memory: what is in the cluster in the end, whatever the way there.

#[cfg(test)]
mod adopted;
#[cfg(test)]
mod analysed;
#[cfg(test)]
mod api;
#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod drills;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod nodes;
