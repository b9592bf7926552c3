//! Laws that hold for all inputs, tried on random ones. A failing case is printed in its smallest form.

mod codecs;
mod names;
mod quantities;
mod selectors;

use proptest::test_runner::Config;

/// Cases of each law. The runs are the same every time: a law that is broken by chance would be found by chance, in
/// somebody else's work.
fn cases(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(37),
        ..Config::default()
    }
}
