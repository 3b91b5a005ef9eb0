-- Budgets. A holder is `upstream:NAME` or `client:NAME`, a period `2026-12-01` or `2026-12`.
CREATE TABLE honelm_spending (
    holder TEXT NOT NULL,
    period TEXT NOT NULL,
    spent BIGINT NOT NULL,
    PRIMARY KEY (holder, period)
);
-- Money that is set aside. A row counts until it expires, in seconds since 1970.
CREATE TABLE honelm_reservations (
    id TEXT NOT NULL,
    holder TEXT NOT NULL,
    period TEXT NOT NULL,
    amount BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (id, holder, period)
);
CREATE INDEX honelm_reservations_by_holder ON honelm_reservations (holder, period);
-- The end of a request, and the failures of upstreams on its way as JSON.
ALTER TABLE honelm_records ADD COLUMN continued BIGINT NOT NULL DEFAULT 0 CHECK (continued IN (0, 1));
ALTER TABLE honelm_records ADD COLUMN complete BIGINT NOT NULL DEFAULT 1 CHECK (complete IN (0, 1));
ALTER TABLE honelm_records ADD COLUMN failures TEXT NOT NULL DEFAULT '[]';
