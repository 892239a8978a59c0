//! Statements over many rows. Each is prepared for a few numbers of rows; a batch takes the largest that fit, so that it costs a few
//! statements and not one per row.

use std::sync::OnceLock;

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, SqliteConnection};

use crate::store::StoreError;

/// The numbers of rows that statements are prepared for, the largest first.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// A statement over `VALUES` of any number of rows.
pub(super) struct Rows {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    sized: [OnceLock<String>; SIZES.len()],
}

impl Rows {
    /// A statement that is `head`, then `row` as often as there are rows, joined by commas, then `tail`.
    pub(super) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, sized: [const { OnceLock::new() }; SIZES.len()] }
    }

    fn text(&'static self, place: usize, size: usize) -> &'static str {
        self.sized.get(place).map_or("", |text| {
            text.get_or_init(|| format!("{}{}{}", self.head, vec![self.row; size].join(","), self.tail))
        })
    }

    /// Runs it over all `rows`; the number of rows it has changed.
    pub(super) async fn run<T>(
        &'static self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&T, &mut Bound),
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for (place, size) in SIZES.into_iter().enumerate() {
            while let Some((now, later)) = rows.split_at_checked(size) {
                let mut bound = Bound::default();
                for row in now {
                    bind(row, &mut bound);
                }
                let query = sqlx::query_with(self.text(place, size), bound.0);
                let done = query.execute(&mut *connection).await.map_err(StoreError::Write)?;
                changed += done.rows_affected();
                rows = later;
            }
        }
        Ok(changed)
    }

    /// Selects by all `keys`. What is left of the last statement's places is filled with the last key, which finds nothing new.
    pub(super) async fn select<K>(
        &'static self,
        connection: &mut SqliteConnection,
        keys: &[K],
        bind: impl Fn(&K, &mut Bound),
        mut found: impl FnMut(&SqliteRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let largest = SIZES.first().copied().unwrap_or(1);
        for keys in keys.chunks(largest) {
            let fits = |(_, size): &(usize, usize)| *size >= keys.len();
            let Some((place, size)) = SIZES.into_iter().enumerate().filter(fits).last() else { continue };
            let Some(last) = keys.last() else { continue };
            let mut bound = Bound::default();
            for key in keys.iter().chain(std::iter::repeat_n(last, size - keys.len())) {
                bind(key, &mut bound);
            }
            let query = sqlx::query_with(self.text(place, size), bound.0);
            for row in query.fetch_all(&mut *connection).await.map_err(StoreError::Read)? {
                found(&row)?;
            }
        }
        Ok(())
    }
}

/// The values of a statement, in the order of its places.
#[derive(Default)]
pub(super) struct Bound(SqliteArguments);

impl Bound {
    /// The next value.
    pub(super) fn put<'v, V>(&mut self, value: V) -> &mut Self
    where
        V: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        // Numbers, texts and bytes always encode.
        let _ = self.0.add(value);
        self
    }
}
