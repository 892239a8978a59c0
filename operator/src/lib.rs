//! The operator: watches ShopServices, and makes them so.
//!
//! It is one loop, `observe -> plan -> apply -> report` ([`controller`]), over services that are due ([`queue`]), in the one of
//! several processes that leads ([`lease`]). What is done next is decided by [`shop_release::plan`], which knows neither clock nor
//! network; everything here reads for it ([`cache`], [`observe`], [`sources`]) or writes what it wants ([`render`], [`apply`],
//! [`sidecars`], [`asks`], [`counting`]).

pub mod adoption;
pub mod apply;
pub mod asks;
pub mod authority;
pub mod cache;
pub mod controller;
pub mod counting;
pub mod drift;
pub mod events;
pub mod faults;
pub mod http;
pub mod key;
pub mod lease;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod policies;
pub mod queue;
pub mod render;
pub mod run;
pub mod settings;
pub mod sidecars;
pub mod signing;
pub mod sources;
