// Returns the offset of the result of a span of positions, before the division by its sum: the largest score, the sum of the
// weights, the weighted values [E].
fn span_at(row: u32, head: u32, span: u32) -> u32 {
    return p.spans_at + ((row * p.heads + head) * p.spans + span) * (WIDTH + 2u);
}
