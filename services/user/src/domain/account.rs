//! Accounts: names, passwords and roles in the forms that are allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of the longest password: more would only make hashing slower (and hashing is what costs here).
pub const LONGEST_PASSWORD: usize = 1024;
/// Characters of the shortest password (NIST SP 800-63B section 5.1.1.2).
const SHORTEST_PASSWORD: usize = 8;
const SHORTEST_NAME: usize = 3;
const LONGEST_NAME: usize = 64;
const LONGEST_DISPLAY_NAME: usize = 100;

/// A field has a value that is not allowed; says what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct Invalid {
    /// Its name.
    pub field: &'static str,
    /// What to send instead.
    pub expected: &'static str,
}

/// What a user logs in with: unique, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Reads a name; letters become lower case, so that no two users differ in their case alone.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !(SHORTEST_NAME..=LONGEST_NAME).contains(&text.len()) || !begins || !text.bytes().all(fits) {
            let expected =
                "3 to 64 letters, digits and `._-+@`, the first a letter or digit; an email address will do";
            return Err(Invalid { field: "name", expected });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a user is called by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads it: no control characters, and not only spaces.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if text.trim().is_empty() || length > LONGEST_DISPLAY_NAME || text.chars().any(char::is_control) {
            let expected = "1 to 100 characters, none of them a control character";
            return Err(Invalid { field: "display_name", expected });
        }
        Ok(Self(text.trim().to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password in clear. It has no way to be shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A new one, long enough to be one.
    pub fn choose(text: String) -> Result<Self, Invalid> {
        if text.chars().count() < SHORTEST_PASSWORD {
            return Err(Invalid { field: "password", expected: "at least 8 characters, at most 1024 bytes" });
        }
        Self::present(text)
    }

    /// One that is shown to log in.
    pub fn present(text: String) -> Result<Self, Invalid> {
        if text.len() > LONGEST_PASSWORD {
            return Err(Invalid { field: "password", expected: "at most 1024 bytes" });
        }
        Ok(Self(text))
    }

    /// For hashing only.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Customer,
    /// Answers customers.
    Support,
    /// Runs the shop: stock, orders, deliveries.
    Ops,
    /// All of it, and other users.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Customer, Self::Support, Self::Ops, Self::Admin];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Support => "support",
            Self::Ops => "ops",
            Self::Admin => "admin",
        }
    }
}

/// The roles of a user: at least one, each once, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// What whoever registers is.
    pub fn customer() -> Self {
        Self(vec![Role::Customer])
    }

    /// Of a list with at least one entry.
    pub fn of(mut roles: Vec<Role>) -> Result<Self, Invalid> {
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() {
            let expected = "a list of at least one of customer, support, ops, admin";
            return Err(Invalid { field: "roles", expected });
        }
        Ok(Self(roles))
    }

    /// As they are stored: joined by commas.
    pub fn joined(&self) -> String {
        self.names().collect::<Vec<_>>().join(",")
    }

    /// Reads what [`joined`](Self::joined) wrote; words of a newer version are left out.
    pub fn split(text: &str) -> Self {
        let known = |word: &str| Role::ALL.into_iter().find(|role| role.as_str() == word);
        Self(text.split(',').filter_map(known).collect())
    }

    /// Each as text.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|role| role.as_str())
    }

    /// Whether the user has this one.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// A user, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id; never given to another one.
    pub id: String,
    /// What it logs in with.
    pub name: String,
    /// How others call it.
    pub display_name: String,
    /// What it may do.
    pub roles: Roles,
    /// Tokens of a lower version are not good any more.
    pub token_version: i64,
    /// When it registered, in milliseconds since 1970.
    pub created_at: i64,
}

/// Whether a caller may see and change an account: its own, or as admin.
pub fn may_touch(caller: &str, roles: &Roles, id: &str) -> bool {
    caller == id || may_administer(roles)
}

/// Whether a caller may list users and give roles.
pub fn may_administer(roles: &Roles) -> bool {
    roles.has(Role::Admin)
}
