-- The catalogue: one row per product. Prices are whole cents, so that no rounding is ever stored.
CREATE TABLE products (
    sku         TEXT PRIMARY KEY NOT NULL CHECK (length(sku) BETWEEN 1 AND 32),
    name        TEXT NOT NULL,
    category    TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0),
    currency    TEXT NOT NULL CHECK (length(currency) = 3)
) STRICT, WITHOUT ROWID;
