/// Adds biases to the logits of tokens. Ids outside of the vocabulary are ignored. // `[V]`
pub fn add_bias(logits: &mut [f32], bias: impl IntoIterator<Item = (u32, f32)>) {
    for (id, bias) in bias {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::add_bias;

    #[test]
    fn adds_and_bans() {
        let mut logits = [1.0, 2.0, 3.0];
        add_bias(&mut logits, [(0, 0.5), (2, f32::NEG_INFINITY), (99, 1.0)]);
        assert_eq!(logits, [1.5, 2.0, f32::NEG_INFINITY]);
    }
}
