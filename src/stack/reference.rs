//! The reference of all keys, made from the table: a page, and where on it a problem leads.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::keys;
use super::keys::Key;
use super::keys::Object;
use super::keys::Shape;
use super::keys::Support;

/// The page, from the folder of the documents.
const PAGE: &str = "docs/reference/keys.md";

/// What every mapping of known keys is called, by its address: two may have one name.
static SLUGS: LazyLock<Vec<(&'static Object, String)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    collect(&keys::STACK, &mut all);
    all
});

/// The name of a mapping on the page and in the schema.
pub(super) fn slug(object: &Object) -> &'static str {
    let found = SLUGS.iter().find(|(one, _)| std::ptr::eq(*one, object));
    found.map_or("stack", |(_, slug)| slug)
}

/// The heading on the page: a dot would not be part of the link to it.
fn anchor(object: &Object) -> String {
    slug(object).replace('.', "-")
}

fn collect(object: &'static Object, all: &mut Vec<(&'static Object, String)>) {
    if all.iter().any(|(one, _)| std::ptr::eq(*one, object)) {
        return;
    }
    let plain = object.name.replace(' ', "-");
    let taken = |name: &String| all.iter().any(|(_, known)| known == name);
    let mut name = plain.clone();
    let mut number = 2;
    while taken(&name) {
        name = format!("{plain}-{number}");
        number += 1;
    }
    all.push((object, name));
    for key in object.keys {
        if let Some(inner) = mapping(&key.shape) {
            collect(inner, all);
        }
    }
}

/// The mapping of known keys that a shape leads to, through lists and names.
fn mapping(shape: &'static Shape) -> Option<&'static Object> {
    match shape {
        Shape::Object(object) | Shape::Short { object, .. } => Some(object),
        Shape::Nullable(of)
        | Shape::List { of, .. }
        | Shape::OneOrList { of, .. }
        | Shape::Map { of, .. }
        | Shape::Named { of, .. } => mapping(of),
        Shape::Ports => Some(&keys::PORT),
        _ => None,
    }
}

/// Where the page speaks of a place in a document, e.g. of `services.web.ports[0]`.
pub(crate) fn link(path: &str) -> String {
    let mut object = &keys::STACK;
    let mut names = path.split(['.', '[']).filter(|name| !name.ends_with(']'));
    while let Some(key) = names.next().and_then(|name| object.key(name)) {
        let Some(inner) = mapping(&key.shape) else {
            break;
        };
        object = inner;
        if is_named(&key.shape) {
            names.next();
        }
    }
    format!("{PAGE}#{}", anchor(object))
}

/// Whether names that the user chooses lead to the mapping.
fn is_named(shape: &Shape) -> bool {
    match shape {
        Shape::Map { .. } | Shape::Named { .. } => true,
        Shape::Nullable(of) => is_named(of),
        _ => false,
    }
}

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        "# Keys of the stack file\n\nGenerated from the table that the loader reads by; a test keeps it equal. \
         What a key means says the [Compose Specification](https://compose-spec.io), and for `x-shop` the \
         [guide](../guide/stack-file.md). Every key may be left empty, and every value may be a variable.\n",
    );
    for (object, _) in &*SLUGS {
        let anchor = anchor(object);
        let _ = write!(
            page,
            "\n## {anchor}\n\n| key | holds | on a Docker Engine |\n| --- | --- | --- |\n"
        );
        for key in object.keys {
            let _ = writeln!(page, "| `{}` | {} | {} |", key.name, holds(key), acts(key));
        }
    }
    page
}

fn holds(key: &'static Key) -> String {
    let needed = if key.needed { "; needed" } else { "" };
    format!("{}{needed}", words(&key.shape))
}

fn acts(key: &Key) -> String {
    let Support::Named(named) = key.support else {
        return "acts".to_owned();
    };
    let instead = named
        .instead
        .map_or_else(String::new, |text| format!("; {text}"));
    format!("`{}`: {}{instead}", named.lint, named.reason)
}

/// What a shape holds.
fn words(shape: &'static Shape) -> String {
    match shape {
        Shape::Any => "anything".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::FlagOrMap | Shape::External => "true, false or a mapping".to_owned(),
        Shape::FlagOrText => "true, false or text".to_owned(),
        Shape::Int { min, max } => match (*min > i64::MIN, *max < i64::MAX) {
            (true, true) => format!("whole number from {min} to {max}"),
            (true, false) => format!("whole number from {min} on"),
            _ => "whole number".to_owned(),
        },
        Shape::Number => "number".to_owned(),
        Shape::Bytes { .. } => "bytes, like `64M`".to_owned(),
        Shape::Duration => "duration, like `1m30s`".to_owned(),
        Shape::Cpus => "CPUs, like `0.5`".to_owned(),
        Shape::Share => "share, like `0.1%`".to_owned(),
        Shape::Mode | Shape::TmpfsMode => "permission bits, like `0440`".to_owned(),
        Shape::Choice(all) => {
            let all: Vec<String> = all.iter().map(|word| format!("`{word}`")).collect();
            all.join(", ")
        }
        Shape::Path => "path".to_owned(),
        Shape::Location => "path or address".to_owned(),
        Shape::Words => "command: text or a list".to_owned(),
        Shape::HealthTest => {
            "command, text, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`".to_owned()
        }
        Shape::Nullable(of) => words(of),
        Shape::List { of, .. } => format!("list of {}", words(of)),
        Shape::OneOrList { of, .. } => format!("{}, or a list", words(of)),
        Shape::Pairs(pairs) if pairs.list => "mapping, or a list of `NAME=value`".to_owned(),
        Shape::Pairs(_) => "mapping".to_owned(),
        Shape::Map { of, .. } => format!("mapping of names to {}", words(of)),
        Shape::Named { of, .. } => format!("mapping of names to {}, or a list of names", words(of)),
        Shape::Object(object) => linked(object),
        Shape::Short { object, .. } => format!("{} or its short form", linked(object)),
        Shape::Scalar => "text, number, true or false".to_owned(),
        Shape::TextOrNumber => "text or a number".to_owned(),
        Shape::Port => "port or a range of ports".to_owned(),
        Shape::DeviceCount => "whole number, or `all`".to_owned(),
        Shape::Ports => format!("list of {} or its short form", linked(&keys::PORT)),
        Shape::Hosts => "mapping of names to addresses, or a list of `name=address`".to_owned(),
    }
}

fn linked(object: &'static Object) -> String {
    let anchor = anchor(object);
    format!("[{anchor}](#{anchor})")
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn a_place_leads_to_its_mapping() {
        let of = |path| link(path).split('#').nth(1).unwrap_or_default().to_owned();
        assert_eq!(of(""), "stack");
        assert_eq!(of("services"), "service");
        assert_eq!(of("services.web.imagee"), "service");
        assert_eq!(of("services.web.deploy.replicas"), "deploy");
        assert_eq!(of("services.web.ports[0].target"), "port");
        assert_eq!(of("services.ports.ports[0]"), "port");
        assert_eq!(of("networks.back.ipam.config[1]"), "address-pool");
        assert_eq!(of("services.web.x-shop.ready"), "x-shop-ready");
    }
}
