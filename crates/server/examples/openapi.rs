//! Prints the OpenAPI document: `cargo run -p microtome-server --example openapi`.

fn main() {
    println!(
        "{}",
        serde_json::to_string_pretty(&microtome_server::openapi()).expect("the document is plain data")
    );
}
