-- What the shop sells: every item in every make, 120 products, the same on every run.
WITH
    items (code, name, category, cents) AS (
        VALUES
            ('MUG', 'mug', 'kitchen', 1190),
            ('BOWL', 'bowl', 'kitchen', 1490),
            ('PLATE', 'plate', 'kitchen', 1290),
            ('TEAPOT', 'teapot', 'kitchen', 3490),
            ('LAMP', 'lamp', 'home', 5900),
            ('VASE', 'vase', 'home', 2790),
            ('CLOCK', 'clock', 'home', 4500),
            ('PEN', 'pen', 'office', 690),
            ('TRAY', 'letter tray', 'office', 1990),
            ('STAND', 'monitor stand', 'office', 6900),
            ('PLANTER', 'planter', 'garden', 2290),
            ('FEEDER', 'bird feeder', 'garden', 3190)
    ),
    makes (number, name, percent) AS (
        VALUES
            (1, 'Oak', 140),
            (2, 'Beech', 120),
            (3, 'Walnut', 170),
            (4, 'Bamboo', 100),
            (5, 'Stoneware', 110),
            (6, 'Porcelain', 150),
            (7, 'Glass', 125),
            (8, 'Steel', 135),
            (9, 'Copper', 180),
            (10, 'Cork', 95)
    )
INSERT INTO products (sku, name, category, description, price_cents, currency)
SELECT
    printf('%s-%04d', items.code, makes.number),
    printf('%s %s', makes.name, items.name),
    items.category,
    printf('A %s made of %s, for the %s.', items.name, lower(makes.name), items.category),
    items.cents * makes.percent / 100,
    'EUR'
FROM items CROSS JOIN makes;
