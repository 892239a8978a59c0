//! What an account is and who may do what with it: pure, without clock, randomness or I/O.

mod account;
mod id;
mod session;

pub use account::{
    DisplayName, Invalid, LONGEST_PASSWORD, Name, Password, Role, Roles, User, may_administer, may_touch,
};
pub use id::{id, key};
pub use session::{ACCESS_LIFE, REFRESH_LIFE, Session, fingerprint};
