-- The records of requests. They hold nothing that a client or a model wrote.
-- Money is in billionths of the currency, energy in microjoules, times of a request in microseconds.
CREATE TABLE honelm_settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE honelm_records (
    id TEXT NOT NULL PRIMARY KEY,
    time_ms BIGINT NOT NULL CHECK (time_ms BETWEEN 0 AND 253402300799999),
    client TEXT,
    model TEXT NOT NULL,
    upstream TEXT,
    route TEXT NOT NULL CHECK (route IN ('local', 'cloud', 'refused')),
    reason TEXT NOT NULL,
    degraded BIGINT NOT NULL CHECK (degraded IN (0, 1)),
    input_tokens BIGINT NOT NULL CHECK (input_tokens BETWEEN 0 AND 9007199254740991),
    cached_input_tokens BIGINT NOT NULL CHECK (cached_input_tokens BETWEEN 0 AND 9007199254740991),
    output_tokens BIGINT NOT NULL CHECK (output_tokens BETWEEN 0 AND 9007199254740991),
    cost BIGINT NOT NULL CHECK (cost BETWEEN 0 AND 9223372036854775807),
    cloud_only_cost BIGINT NOT NULL CHECK (cloud_only_cost BETWEEN 0 AND 9223372036854775807),
    energy BIGINT CHECK (energy IS NULL OR energy BETWEEN 0 AND 9007199254740991),
    first_token BIGINT CHECK (first_token IS NULL OR first_token BETWEEN 0 AND 9007199254740991),
    duration BIGINT NOT NULL CHECK (duration BETWEEN 0 AND 9007199254740991),
    replaced TEXT NOT NULL
);
CREATE INDEX honelm_records_by_time ON honelm_records (time_ms);
