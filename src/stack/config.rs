//! The resolved document as `config` prints it: the same as Docker Compose's
//! `config --format json`, and its lists.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde::ser::SerializeSeq;
use sha2::Digest;
use sha2::Sha256;

use super::complete::section_mut;
pub use super::interpolate::Use;
use super::keys::Object;
use super::keys::Print;
use super::keys::SERVICE;
use super::keys::STACK;
use super::keys::Shape;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Value;

/// A resolved stack, to print.
#[derive(Clone, Debug)]
pub struct Document {
    /// The complete tree.
    pub(super) tree: Node,
    /// The variables that it was interpolated with.
    pub(super) environment: BTreeMap<String, String>,
    /// Every profile that the files name.
    pub(super) profiles: BTreeSet<String>,
    /// Every variable that the files name.
    pub(super) variables: Vec<Use>,
    /// Variables were not replaced.
    pub(super) raw: bool,
}

/// A value in printing order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Printed {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// A CPU count, which the peer keeps in single precision.
    Single(f32),
    Text(String),
    List(Vec<Printed>),
    Map(Vec<(String, Printed)>),
}

impl Serialize for Printed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_str(&value.to_string()),
            },
            Self::Float(value) => whole_or_float(*value, serializer),
            Self::Single(value) => {
                if value.fract() == 0.0 {
                    return whole_or_float(f64::from(*value), serializer);
                }
                serializer.serialize_f32(*value)
            }
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for entry in list {
                    seq.serialize_element(entry)?;
                }
                seq.end()
            }
            Self::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, value)?;
                }
                out.end()
            }
        }
    }
}

/// Go prints a float without a fraction as a whole number.
fn whole_or_float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return serializer.serialize_i64(value as i64);
    }
    serializer.serialize_f64(value)
}

impl Document {
    /// The document as JSON, indented by two.
    pub fn to_json(&self) -> String {
        let mut printed = self.printed();
        if let Printed::Map(map) = &mut printed {
            map.sort_by(|one, other| one.0.cmp(&other.0));
        }
        self.escaped(serde_json::to_string_pretty(&printed).unwrap_or_default())
    }

    /// The document as YAML.
    pub fn to_yaml(&self) -> String {
        // One line stays one line, so that it can be found and compared.
        let options = serde_yaml::ser_options! { folded_wrap_chars: usize::MAX };
        let text = serde_yaml::to_string_with_options(&self.printed(), options);
        self.escaped(text.unwrap_or_default())
    }

    /// The output is a stack file again, so a `$` of a value is written `$$`.
    fn escaped(&self, text: String) -> String {
        if self.raw {
            return text;
        }
        text.replace('$', "$$")
    }

    /// Names of the services.
    pub fn services(&self) -> Vec<String> {
        self.names("services")
    }

    /// Keys of the volumes.
    pub fn volumes(&self) -> Vec<String> {
        self.names("volumes")
    }

    /// Keys of the networks.
    pub fn networks(&self) -> Vec<String> {
        self.names("networks")
    }

    /// Images by service: what it runs, or the name its build gets.
    pub fn images(&self) -> BTreeMap<String, String> {
        let stack = self.tree.text_of("name").unwrap_or_default();
        self.section("services")
            .into_iter()
            .flatten()
            .map(|(name, entry)| {
                let image = entry
                    .node
                    .text_of("image")
                    .map_or_else(|| format!("{stack}-{name}"), str::to_owned);
                (name.clone(), image)
            })
            .collect()
    }

    /// Lets a service name its image by a digest too; one without a tag gets `latest`, as
    /// the digest is that tag's.
    pub fn pin_image(&mut self, service: &str, digest: &str) {
        let services = self.tree.as_map_mut();
        let services = services.and_then(|map| section_mut(map, "services"));
        let image = services
            .and_then(|map| map.get_mut(service)?.node.as_map_mut()?.get_mut("image"))
            .map(|entry| &mut entry.node.value);
        if let Some(Value::Text(text)) = image {
            let last = text.rsplit('/').next().unwrap_or(text);
            let tag = if last.contains(':') { "" } else { ":latest" };
            *text = format!("{text}{tag}@{digest}");
        }
    }

    /// Images that are named by a tag, by service.
    pub fn unpinned(&self) -> BTreeMap<String, String> {
        let services = self.section("services").into_iter().flatten();
        services
            .filter_map(|(name, entry)| {
                let image = entry.node.text_of("image")?;
                (!image.contains('@')).then(|| (name.clone(), image.to_owned()))
            })
            .collect()
    }

    /// Every profile that the files name.
    pub fn profiles(&self) -> &BTreeSet<String> {
        &self.profiles
    }

    /// The variables that the files were interpolated with.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Every variable that the files name, with its default.
    pub fn variables(&self) -> &[Use] {
        &self.variables
    }

    /// What Docker Compose's configuration hash of a service is made of:
    /// compact JSON, without what does not change a container.
    pub fn hash_input(&self, service: &str) -> Option<String> {
        const WITHOUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];
        let map = self.section("services")?.get(service)?.node.as_map()?;
        let Printed::Map(mut keys) = object(map, &SERVICE) else {
            return None;
        };
        keys.retain(|(key, _)| !WITHOUT.contains(&key.as_str()));
        for (key, value) in &mut keys {
            if key == "deploy"
                && let Printed::Map(deploy) = value
            {
                deploy.retain(|(key, _)| key != "replicas");
            }
        }
        let json = serde_json::to_string(&Printed::Map(keys)).ok()?;
        // Go writes these so, for the sake of HTML.
        Some(
            json.replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029"),
        )
    }

    /// Docker Compose's configuration hash of a service.
    pub fn hash(&self, service: &str) -> Option<String> {
        self.hash_input(service).map(|input| hash_of(&input))
    }

    fn section(&self, name: &str) -> Option<&Map> {
        self.tree.get(name)?.as_map()
    }

    fn names(&self, section: &str) -> Vec<String> {
        self.section(section)
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    }

    fn printed(&self) -> Printed {
        let Some(map) = self.tree.as_map() else {
            return Printed::Null;
        };
        let Printed::Map(mut entries) = object(map, &STACK) else {
            return Printed::Null;
        };
        for (name, entry) in map {
            if name.starts_with("x-") && STACK.key(name).is_none() {
                entries.push((name.clone(), any(&entry.node)));
            }
        }
        Printed::Map(entries)
    }
}

/// The configuration hash over a [`Document::hash_input`].
pub fn hash_of(input: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(input) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A mapping of known keys in the order of the table.
pub(crate) fn object(map: &Map, known: &Object) -> Printed {
    let mut entries = Vec::new();
    for key in known.keys {
        let node = map.get(key.name).map(|entry| &entry.node);
        let printed = match node {
            None => None,
            Some(node) => value(node, &key.shape),
        };
        let printed = match (key.print, printed) {
            (Print::Never, _) => None,
            (Print::OrNull, printed) => Some(printed.unwrap_or(Printed::Null)),
            (Print::AsMap, None) => Some(empty_object(&key.shape)),
            (Print::AsMap, printed) => printed,
            (Print::AsList, printed) => printed.map(as_list),
            (Print::WhenSet, printed) => printed.filter(|printed| *printed != Printed::Null),
            (Print::UnlessEmpty, printed) => {
                printed.filter(|printed| !is_empty(printed) && !is_zero(printed, &key.shape))
            }
        };
        if let Some(printed) = printed {
            entries.push((key.printed_as.to_owned(), printed));
        }
    }
    Printed::Map(entries)
}

/// Units that are text in the document and zero all the same.
fn is_zero(printed: &Printed, shape: &Shape) -> bool {
    match (printed, shape) {
        (Printed::Text(text), Shape::Bytes { .. }) => text == "0",
        (Printed::Text(text), Shape::Duration) => text == "0s",
        _ => false,
    }
}

fn empty_object(shape: &Shape) -> Printed {
    match shape {
        Shape::Object(known) => object(&Map::new(), known),
        _ => Printed::Map(Vec::new()),
    }
}

/// Names with values as a list of `NAME=value`.
fn as_list(printed: Printed) -> Printed {
    let Printed::Map(entries) = printed else {
        return printed;
    };
    Printed::List(
        entries
            .into_iter()
            .map(|(name, value)| match value {
                Printed::Text(text) => Printed::Text(format!("{name}={text}")),
                _ => Printed::Text(name),
            })
            .collect(),
    )
}

fn is_empty(printed: &Printed) -> bool {
    match printed {
        Printed::Null => true,
        Printed::Bool(value) => !value,
        Printed::Int(value) => *value == 0,
        Printed::Float(value) => *value == 0.0,
        Printed::Single(value) => *value == 0.0,
        Printed::Text(text) => text.is_empty(),
        Printed::List(list) => list.is_empty(),
        Printed::Map(map) => map.is_empty(),
    }
}

/// A value as its shape prints it.
fn value(node: &Node, shape: &Shape) -> Option<Printed> {
    Some(match (shape, &node.value) {
        (_, Value::Null) => Printed::Null,
        (Shape::Nullable(inner), _) => return value(node, inner),
        (Shape::Object(known), Value::Map(map)) => object(map, known),
        (Shape::Short { object: known, .. }, Value::Map(map)) => {
            if known.name == "ulimit"
                && let Some(single) = map.get("single")
            {
                return Some(any(&single.node));
            }
            object(map, known)
        }
        (Shape::Map { of, .. } | Shape::Named { of, .. }, Value::Map(map)) => Printed::Map(
            map.iter()
                .filter_map(|(name, entry)| Some((name.clone(), value(&entry.node, of)?)))
                .collect(),
        ),
        (Shape::List { of, .. } | Shape::OneOrList { of, .. }, Value::List(list)) => {
            Printed::List(list.iter().filter_map(|entry| value(entry, of)).collect())
        }
        (Shape::Ports, Value::List(list)) => Printed::List(
            list.iter()
                .map(|entry| match entry.as_map() {
                    Some(map) => object(map, &super::keys::PORT),
                    None => any(entry),
                })
                .collect(),
        ),
        (Shape::Hosts, Value::Map(map)) => {
            let mut lines: Vec<String> = map
                .iter()
                .flat_map(|(name, entry)| {
                    entry
                        .node
                        .as_list()
                        .unwrap_or_default()
                        .iter()
                        .map(move |address| {
                            format!("{name}={}", address.as_text().unwrap_or_default())
                        })
                })
                .collect();
            lines.sort();
            Printed::List(lines.into_iter().map(Printed::Text).collect())
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the peer prints single precision"
        )]
        (Shape::Cpus, Value::Float(cpus)) => Printed::Single(*cpus as f32),
        _ => any(node),
    })
}

/// A value as it is.
fn any(node: &Node) -> Printed {
    match &node.value {
        Value::Null => Printed::Null,
        Value::Bool(value) => Printed::Bool(*value),
        Value::Int(value) => Printed::Int(*value),
        Value::Float(value) => Printed::Float(*value),
        Value::Time(text) | Value::Text(text) => Printed::Text(text.clone()),
        Value::List(list) => Printed::List(list.iter().map(any).collect()),
        Value::Map(map) => Printed::Map(
            map.iter()
                .map(|(name, entry)| (name.clone(), any(&entry.node)))
                .collect(),
        ),
    }
}
