//! The OpenAPI document.

use std::path::Path;

use serde_json::Value;

use crate::served::Server;

#[test]
fn the_committed_document_is_what_the_code_says() {
    let said = serde_json::to_string_pretty(&microtome_server::openapi()).unwrap() + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(said == committed, "crates/server/openapi.json is out of date; run `cargo xtask gen-api`");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_is_described() {
    let document = Server::demo().get("/openapi.json").json();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("references stay in the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["tags"][0].is_string(), "{method} {path} has no tag");
        }
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
