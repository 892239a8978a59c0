//! Problem details (RFC 9457): every error a client sees is one of these, with a code from a closed list.

use std::borrow::Cow;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// The closed list of problem codes. Clients decide by the code; title and detail are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The request cannot be read: a malformed query or parameter.
    InvalidRequest,
    /// `limit` is not a number from 1 to 100.
    InvalidLimit,
    /// The cursor was not made by this API, or was made for another filter.
    InvalidCursor,
    /// The body is no JSON, or not the object that is expected.
    InvalidBody,
    /// A field of the body has a value that is not allowed.
    InvalidField,
    /// The body is longer than is read.
    BodyTooLarge,
    /// The body is of another type than JSON.
    UnsupportedMediaType,
    /// There is no token, or it is not good.
    Unauthenticated,
    /// Name and password do not fit; which of them is not said.
    WrongCredentials,
    /// The refresh token is unknown, expired, revoked or was used before.
    RefreshRefused,
    /// The code of a mini-program is wrong, was used or is too old.
    CodeRefused,
    /// The provider of a login takes its user for a fraud.
    AccountAtRisk,
    /// The role of the user is not enough.
    Forbidden,
    /// No such user, or another one's for who may not see it.
    UserNotFound,
    /// Another user has this name.
    NameTaken,
    /// Too many attempts to log in with this name.
    TooManyAttempts,
    /// More waits than can be done soon.
    Busy,
    /// The address is on the list of those that are not let in.
    AddressDenied,
    /// The sidecar checks requests, and this one did not come through it.
    NotThroughSidecar,
    /// Requests came faster than they may.
    RateLimited,
    /// Far too many requests: nothing is answered for a while.
    Suspended,
    /// The service that would answer cannot be reached, or fails most of the time.
    UpstreamUnavailable,
    /// There was no answer in time.
    DeadlineExceeded,
    /// No such path.
    RouteNotFound,
    /// No such product.
    ProductNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The path is a WebSocket and the request is not a handshake.
    UpgradeRequired,
    /// No fault of this name can be switched.
    UnknownFault,
    /// The instance does not want requests.
    NotReady,
    /// No such order, or another user's.
    OrderNotFound,
    /// A SKU that is not sold here.
    ItemNotFound,
    /// No such reservation.
    ReservationNotFound,
    /// Not all pieces can be had.
    SoldOut,
    /// The order's state does not allow it.
    InvalidTransition,
    /// The reservation is sold, given back, over, or an order's.
    ReservationClosed,
    /// `Idempotency-Key` is missing, too long or not ASCII.
    InvalidIdempotencyKey,
    /// The key was sent with another request before.
    IdempotencyKeyReused,
    /// What was paid is not the total, or the lines have no sum.
    AmountMismatch,
    /// The store, or its ids, cannot be had now.
    StoreUnavailable,
    /// A fault that was asked for answered instead of the service.
    FaultInjected,
    /// The service failed in a way it did not foresee.
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 41] = [
        Self::InvalidRequest,
        Self::InvalidLimit,
        Self::InvalidCursor,
        Self::InvalidBody,
        Self::InvalidField,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::Unauthenticated,
        Self::WrongCredentials,
        Self::RefreshRefused,
        Self::CodeRefused,
        Self::AccountAtRisk,
        Self::Forbidden,
        Self::UserNotFound,
        Self::NameTaken,
        Self::TooManyAttempts,
        Self::Busy,
        Self::AddressDenied,
        Self::NotThroughSidecar,
        Self::RateLimited,
        Self::Suspended,
        Self::UpstreamUnavailable,
        Self::DeadlineExceeded,
        Self::RouteNotFound,
        Self::ProductNotFound,
        Self::MethodNotAllowed,
        Self::UpgradeRequired,
        Self::UnknownFault,
        Self::NotReady,
        Self::OrderNotFound,
        Self::ItemNotFound,
        Self::ReservationNotFound,
        Self::SoldOut,
        Self::InvalidTransition,
        Self::ReservationClosed,
        Self::InvalidIdempotencyKey,
        Self::IdempotencyKeyReused,
        Self::AmountMismatch,
        Self::StoreUnavailable,
        Self::FaultInjected,
        Self::Internal,
    ];

    /// The code as it is written in `code` and at the end of `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::InvalidLimit => "invalid-limit",
            Self::InvalidCursor => "invalid-cursor",
            Self::InvalidBody => "invalid-body",
            Self::InvalidField => "invalid-field",
            Self::BodyTooLarge => "body-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Unauthenticated => "unauthenticated",
            Self::WrongCredentials => "wrong-credentials",
            Self::RefreshRefused => "refresh-refused",
            Self::CodeRefused => "code-refused",
            Self::AccountAtRisk => "account-at-risk",
            Self::Forbidden => "forbidden",
            Self::UserNotFound => "user-not-found",
            Self::NameTaken => "name-taken",
            Self::TooManyAttempts => "too-many-attempts",
            Self::Busy => "busy",
            Self::AddressDenied => "address-denied",
            Self::NotThroughSidecar => "not-through-sidecar",
            Self::RateLimited => "rate-limited",
            Self::Suspended => "suspended",
            Self::UpstreamUnavailable => "upstream-unavailable",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::RouteNotFound => "route-not-found",
            Self::ProductNotFound => "product-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::UpgradeRequired => "upgrade-required",
            Self::UnknownFault => "unknown-fault",
            Self::NotReady => "not-ready",
            Self::OrderNotFound => "order-not-found",
            Self::ItemNotFound => "item-not-found",
            Self::ReservationNotFound => "reservation-not-found",
            Self::SoldOut => "sold-out",
            Self::InvalidTransition => "invalid-transition",
            Self::ReservationClosed => "reservation-closed",
            Self::InvalidIdempotencyKey => "invalid-idempotency-key",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::AmountMismatch => "amount-mismatch",
            Self::StoreUnavailable => "store-unavailable",
            Self::FaultInjected => "fault-injected",
            Self::Internal => "internal",
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest
            | Self::InvalidLimit
            | Self::InvalidCursor
            | Self::InvalidBody
            | Self::InvalidField
            | Self::InvalidIdempotencyKey => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::WrongCredentials | Self::RefreshRefused | Self::CodeRefused => {
                StatusCode::UNAUTHORIZED
            }
            Self::Forbidden | Self::AccountAtRisk | Self::AddressDenied | Self::NotThroughSidecar => {
                StatusCode::FORBIDDEN
            }
            Self::RouteNotFound | Self::ProductNotFound | Self::UserNotFound | Self::UnknownFault => {
                StatusCode::NOT_FOUND
            }
            Self::SoldOut | Self::InvalidTransition | Self::ReservationClosed | Self::NameTaken => {
                StatusCode::CONFLICT
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyAttempts | Self::RateLimited | Self::Suspended => StatusCode::TOO_MANY_REQUESTS,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::StoreUnavailable | Self::NotReady | Self::Busy | Self::UpstreamUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::OrderNotFound | Self::ItemNotFound | Self::ReservationNotFound => StatusCode::NOT_FOUND,
            Self::IdempotencyKeyReused | Self::AmountMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::FaultInjected | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The same sentence for every problem of this code.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request cannot be read",
            Self::InvalidLimit => "The limit is not a number from 1 to 100",
            Self::InvalidCursor => "The cursor does not belong to this list",
            Self::InvalidBody => "The body cannot be read",
            Self::InvalidField => "A field has a wrong value",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is not JSON",
            Self::Unauthenticated => "A good token is needed",
            Self::WrongCredentials => "The name or the password is wrong",
            Self::RefreshRefused => "The refresh token is not good",
            Self::CodeRefused => "The code is not good",
            Self::AccountAtRisk => "The provider does not let this user in",
            Self::Forbidden => "This is not yours to do",
            Self::UserNotFound => "There is no such user",
            Self::NameTaken => "The name is taken",
            Self::TooManyAttempts => "Too many attempts to log in",
            Self::Busy => "The service has too much to do",
            Self::AddressDenied => "This address is not let in",
            Self::NotThroughSidecar => "This way in is closed",
            Self::RateLimited => "Too many requests",
            Self::Suspended => "Suspended for a while",
            Self::UpstreamUnavailable => "A service behind this one is not there",
            Self::DeadlineExceeded => "It took too long",
            Self::RouteNotFound => "There is nothing at this path",
            Self::ProductNotFound => "There is no such product",
            Self::MethodNotAllowed => "The method is not allowed at this path",
            Self::UpgradeRequired => "This path is a WebSocket",
            Self::UnknownFault => "There is no such fault to switch",
            Self::NotReady => "The service is not ready",
            Self::OrderNotFound => "There is no such order",
            Self::ItemNotFound => "This is not sold here",
            Self::ReservationNotFound => "There is no such reservation",
            Self::SoldOut => "There is not enough of it",
            Self::InvalidTransition => "The order is not where this can happen",
            Self::ReservationClosed => "The reservation is closed",
            Self::InvalidIdempotencyKey => "The Idempotency-Key cannot be read",
            Self::IdempotencyKeyReused => "The key stands for another request",
            Self::AmountMismatch => "The amount does not fit",
            Self::StoreUnavailable => "The store cannot be written or read now",
            Self::FaultInjected => "A fault was asked for",
            Self::Internal => "The service failed",
        }
    }
}

/// One problem: a code and what is wrong this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// A problem whose detail says what is wrong and, where the client can do something, what.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after: None }
    }

    /// Names the field of the request that is wrong.
    #[must_use]
    pub fn field(self, field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Says when to come again, in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// Its code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What is wrong this time.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:shop:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            field: self.field.as_deref(),
        };
        let json = serde_json::to_vec(&body).expect("strings and a number always serialise");
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (
            self.code.status(),
            [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            json,
        )
            .into_response();
        if self.code.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        if self.code == Code::UpgradeRequired {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

/// Adds the answers for unknown paths and methods to a router.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(route_not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn route_not_found() -> Problem {
    Problem::new(Code::RouteNotFound, "check the path against the service's documentation")
}

async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the header `allow` lists the methods of this path")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_in_the_documentation() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        let readme = include_str!("../../README.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
            assert!(readme.contains(&row), "services/README.md lacks the row {row}");
        }
    }

    #[test]
    fn a_problem_is_answered_as_problem_json() {
        let response = Problem::new(Code::InvalidCursor, "start again without a cursor").into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let later =
            Problem::new(Code::Busy, "later").retry_after(Duration::from_millis(1_200)).into_response();
        assert_eq!(later.headers()[header::RETRY_AFTER], "2");
    }
}
