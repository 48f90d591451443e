//! The example does what it says.

#[path = "../../examples/config.rs"]
mod config;

#[test]
fn the_example_of_the_configuration_runs() {
    config::main().unwrap();
}
