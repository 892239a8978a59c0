//! Cursors: where a list goes on. Opaque to clients, so that what is inside can change.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The first field of a cursor; another one is from another version of this format.
const FORMAT: &str = "1";
/// Longer texts were not made here.
const LONGEST: usize = 512;

/// The place after one product, in the list of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The category that the list is limited to. A cursor is of use for its own list only.
    pub category: Option<String>,
    /// The SKU of the last product that was sent.
    pub after: String,
}

/// Why a cursor was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It was not made by this API.
    #[error(
        "the cursor was not made by this API: send `next` of the page before as it is, or start again without one"
    )]
    Malformed,
    /// It belongs to the list of another category.
    #[error(
        "the cursor belongs to the list of another category: keep `category` as it was, or start again without a cursor"
    )]
    OtherList,
}

impl Cursor {
    /// The text that clients send back.
    pub fn encode(&self) -> String {
        let category = self.category.as_deref().unwrap_or_default();
        URL_SAFE_NO_PAD.encode(format!("{FORMAT}\n{category}\n{}", self.after))
    }

    /// Reads what a client sent back, for the list of `category`.
    pub fn decode(text: &str, category: Option<&str>) -> Result<Self, CursorError> {
        if text.len() > LONGEST {
            return Err(CursorError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Malformed)?;
        let plain = String::from_utf8(bytes).map_err(|_| CursorError::Malformed)?;
        let mut fields = plain.splitn(3, '\n');
        let (Some(FORMAT), Some(named), Some(after)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CursorError::Malformed);
        };
        if after.is_empty() || after.contains('\n') {
            return Err(CursorError::Malformed);
        }
        if named != category.unwrap_or_default() {
            return Err(CursorError::OtherList);
        }
        Ok(Self { category: category.map(str::to_owned), after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for category in [None, Some("kitchen")] {
            let cursor = Cursor { category: category.map(str::to_owned), after: "MUG-0001".to_owned() };
            let text = cursor.encode();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(Cursor::decode(&text, category), Ok(cursor));
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let text = Cursor { category: Some("kitchen".to_owned()), after: "MUG-0001".to_owned() }.encode();
        assert_eq!(Cursor::decode(&text, None), Err(CursorError::OtherList));
        assert_eq!(Cursor::decode(&text, Some("home")), Err(CursorError::OtherList));
    }

    #[test]
    fn nonsense_is_refused() {
        let encode = |plain: &str| URL_SAFE_NO_PAD.encode(plain);
        let invalid_utf8 = URL_SAFE_NO_PAD.encode([0xff, 0xfe]);
        let texts = [
            "",
            "%%%",
            "MUG-0001",
            &encode("2\n\nMUG-0001"),
            &encode("1\n\n"),
            &encode("1\n\na\nb"),
            &invalid_utf8,
        ];
        for text in texts {
            assert_eq!(Cursor::decode(text, None), Err(CursorError::Malformed), "{text}");
        }
        assert_eq!(
            Cursor::decode(&encode(&format!("1\n\n{}", "A".repeat(1000))), None),
            Err(CursorError::Malformed)
        );
    }
}
