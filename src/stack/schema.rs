//! A JSON Schema of the stack file, made from the table of keys: what editors complete
//! and check while somebody types.
//!
//! It is wider than the loader: any scalar may be text, because `${VARIABLE}` may stand in its
//! place, and any value may be left empty. Whatever is accepted by the loader is valid by it.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::keys;
use super::keys::Key;
use super::keys::Numbers;
use super::keys::Object;
use super::keys::Shape;
use super::keys::Support;

/// The schema, in the draft of 2020-12.
pub fn schema() -> Value {
    let mut definitions = Definitions::default();
    let stack = definitions.of(&keys::STACK);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shopctl stack file",
        "description": "A file of the Compose Specification with x-shop.",
        "$ref": stack,
        "$defs": definitions.made,
    })
}

/// Mappings of known keys, each once.
#[derive(Default)]
struct Definitions {
    /// By address: two mappings may have one name.
    names: BTreeMap<usize, String>,
    made: Map<String, Value>,
}

impl Definitions {
    /// A reference to a mapping, which is defined by then.
    fn of(&mut self, object: &'static Object) -> String {
        let address = std::ptr::from_ref(object) as usize;
        if let Some(name) = self.names.get(&address) {
            return format!("#/$defs/{name}");
        }
        let plain = object.name.replace(' ', "-");
        let taken = |name: &String| self.names.values().any(|known| known == name);
        let mut name = plain.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        self.names.insert(address, name.clone());
        let properties: Map<String, Value> = object
            .keys
            .iter()
            .map(|key| (key.name.to_owned(), self.property(key)))
            .collect();
        let mut made = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        if object.extensions {
            made["patternProperties"] = json!({ "^x-": true });
        }
        self.made.insert(name.clone(), made);
        format!("#/$defs/{name}")
    }

    /// A key may be left empty.
    fn property(&mut self, key: &'static Key) -> Value {
        let mut property = json!({ "anyOf": [self.shape(&key.shape), { "type": "null" }] });
        if let Support::Named(named) = key.support {
            property["description"] = json!(format!("Has no effect: {}.", named.reason));
        }
        property
    }

    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Any => json!(true),
            Shape::Text | Shape::Path | Shape::Location => json!({ "type": "string" }),
            Shape::Flag | Shape::FlagOrText => json!({ "type": ["boolean", "string"] }),
            Shape::FlagOrMap | Shape::External => {
                json!({ "type": ["boolean", "string", "object"] })
            }
            Shape::Int { min, max } => int(*min, *max),
            Shape::Number | Shape::Duration | Shape::Cpus | Shape::Share | Shape::TextOrNumber => {
                json!({ "type": ["number", "string"] })
            }
            Shape::Bytes { numbers } if *numbers == Numbers::None => json!({ "type": "string" }),
            Shape::Bytes { .. } => json!({ "type": ["number", "string"] }),
            Shape::Mode | Shape::Port | Shape::TmpfsMode | Shape::DeviceCount => {
                json!({ "type": ["integer", "string"] })
            }
            Shape::Choice(words) => json!({
                "anyOf": [{ "enum": words }, { "type": "string", "pattern": "\\$" }],
            }),
            Shape::Words | Shape::HealthTest => one_or_list(&scalar()),
            Shape::Nullable(inner) => json!({ "anyOf": [self.shape(inner), { "type": "null" }] }),
            Shape::List { of, .. } => json!({ "type": "array", "items": self.shape(of) }),
            Shape::OneOrList { of, .. } => one_or_list(&self.shape(of)),
            Shape::Pairs(pairs) => {
                let map = json!({
                    "type": "object",
                    "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
                });
                let list = json!({ "type": "array", "items": scalar() });
                if pairs.list {
                    json!({ "anyOf": [map, list] })
                } else {
                    map
                }
            }
            Shape::Map { of, .. } => self.map(of),
            Shape::Named { of, .. } => json!({
                "anyOf": [self.map(of), { "type": "array", "items": scalar() }],
            }),
            Shape::Object(object) => json!({ "$ref": self.of(object) }),
            Shape::Short { object, .. } => self.short(object),
            Shape::Scalar => scalar(),
            Shape::Ports => json!({ "type": "array", "items": self.short(&keys::PORT) }),
            Shape::Hosts => json!({
                "anyOf": [
                    { "type": "array", "items": scalar() },
                    { "type": "object", "additionalProperties": one_or_list(&scalar()) },
                ],
            }),
        }
    }

    /// Names that the user chooses; what stands under one may be left empty.
    fn map(&mut self, of: &'static Shape) -> Value {
        json!({
            "type": "object",
            "additionalProperties": { "anyOf": [self.shape(of), { "type": "null" }] },
        })
    }

    fn short(&mut self, object: &'static Object) -> Value {
        json!({ "anyOf": [{ "$ref": self.of(object) }, scalar(), { "type": "array" }] })
    }
}

fn int(min: i64, max: i64) -> Value {
    let mut schema = json!({ "type": ["integer", "string"] });
    if min > i64::MIN {
        schema["minimum"] = json!(min);
    }
    if max < i64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn one_or_list(of: &Value) -> Value {
    json!({ "anyOf": [of, { "type": "array", "items": of }] })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A file as JSON; none where it has tags, which only merging files knows.
    fn read(path: &Path) -> Option<Value> {
        let text = fs::read_to_string(path).ok()?;
        if text.contains("!reset") || text.contains("!override") {
            return None;
        }
        // `y` is text, as Docker Compose reads it.
        let options = serde_yaml::options! { strict_booleans: true };
        serde_yaml::from_str_with_options(&text, options).ok()
    }

    #[test]
    fn what_docker_compose_accepts_is_valid_and_an_unknown_key_is_not() {
        let validator = jsonschema::validator_for(&schema()).expect("a schema");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cases = fs::read_dir(root.join("tests/compose-cases")).expect("cases");
        let mut valid = 0;
        for case in cases {
            let case = case.expect("a case").path();
            if !case.join("expected.json").exists() {
                continue;
            }
            for name in ["compose.yaml", "compose.yml", "docker-compose.yml"] {
                let Some(file) = read(&case.join("in").join(name)) else {
                    continue;
                };
                let errors: Vec<String> = validator
                    .iter_errors(&file)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{}: {errors:#?}", case.display());
                valid += 1;
            }
        }
        assert!(valid > 30, "{valid}");
        let shop = read(&root.join("stacks/shop.yaml")).expect("a stack");
        assert!(validator.is_valid(&shop), "our own");
        for wrong in [
            json!({ "services": { "a": { "imaeg": "x" } } }),
            json!({ "services": { "a": { "image": "x", "x-shop": { "secret": "memory" } } } }),
            json!({ "services": { "a": { "image": ["x"] } } }),
            json!({ "service": {} }),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }
}
