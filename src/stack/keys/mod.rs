//! The table of every key that the specification knows: one place for what a
//! key may hold, how files merge it, how it is printed, and whether it acts.
//!
//! The order of keys is the order in which Docker Compose prints them; its
//! configuration hash depends on it. Adding a key means adding a row here, and
//! reading it in `decode`.

mod build;
mod deploy;
mod service;
mod shop;
mod top;

use super::canonical::Context;
use super::problem::ON_CLUSTERS;
use super::report::At;
use super::yaml::Node;

pub(crate) use self::service::PORT;
pub(crate) use self::service::SERVICE;
pub(crate) use self::top::SECTIONS;
pub(crate) use self::top::STACK;

/// What a value may look like, and what its canonical form is.
pub(crate) enum Shape {
    /// Anything: an extension.
    Any,
    /// Text; numbers and booleans have to be quoted.
    Text,
    /// A boolean, or text that says one.
    Flag,
    /// A boolean, or a mapping whose keys are not known yet.
    FlagOrMap,
    /// Text or a boolean; canonical as text.
    FlagOrText,
    /// A whole number, or text that says one.
    Int {
        /// The least allowed value.
        min: i64,
        /// The greatest allowed value.
        max: i64,
    },
    /// A number, or text that says one.
    Number,
    /// A number of bytes with or without a unit; canonical as digits.
    Bytes {
        /// Which bare numbers are accepted.
        numbers: Numbers,
    },
    /// A duration; canonical as Go prints it.
    Duration,
    /// A number of CPUs.
    Cpus,
    /// A share, like `0.1%` or `0.001`.
    Share,
    /// Permission bits: `0440`; canonical as octal text.
    Mode,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A path on this machine; canonical as an absolute one.
    Path,
    /// A build context: a path, or a URL of some kind.
    Location,
    /// A command: text that is split like a shell does, or a list.
    Words,
    /// Nothing, or the inner shape.
    Nullable(&'static Shape),
    /// A list.
    List {
        /// Its entries.
        of: &'static Shape,
        /// What two equal entries mean.
        unique: Unique,
    },
    /// A list, or one entry of it.
    OneOrList {
        /// Its entries.
        of: &'static Shape,
        /// What two equal entries mean.
        unique: Unique,
    },
    /// `NAME=value`, as a mapping of scalars or a list of such texts.
    Pairs(Pairs),
    /// A mapping by names that the user chooses.
    Map {
        /// Its values.
        of: &'static Shape,
        /// Which names are allowed.
        names: Names,
    },
    /// A mapping by names, or a list of names alone.
    Named {
        /// The values of the mapping.
        of: &'static Shape,
        /// What a name alone stands for.
        alone: fn(&Node) -> Node,
    },
    /// A mapping of known keys.
    Object(&'static Object),
    /// A mapping of known keys, or a short form of it.
    Short {
        /// The mapping.
        object: &'static Object,
        /// Turns what is no mapping into one.
        parse: Parse,
    },
    /// Text, a number or a boolean; canonical as text.
    Scalar,
    /// Text, or a number that is canonical as text.
    TextOrNumber,
    /// A port or a range of ports; canonical as text.
    Port,
    /// The command of a health check.
    HealthTest,
    /// The mode of a tmpfs; canonical as a number.
    TmpfsMode,
    /// A number of devices, or `all`.
    DeviceCount,
    /// `external`: a boolean, or a mapping with the name.
    External,
    /// A list in which one short entry may stand for several.
    Ports,
    /// `hosts` lines: `name=address`, or a mapping of names to addresses.
    Hosts,
}

/// Which bare numbers an amount may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// None: only text.
    None,
    /// Whole ones from 0 on.
    Natural,
    /// Any; fractions are cut.
    Any,
}

/// Turns a short form into the mapping it stands for; `None` after a report.
pub(crate) type Parse = fn(&Node, &At<'_>, &mut Context<'_>) -> Option<Node>;

/// Looks at a mapping whose keys are canonical already.
pub(crate) type Finish = fn(&mut Node, &At<'_>, &mut Context<'_>);

/// What two equal entries of a list mean.
#[derive(Clone, Copy)]
pub(crate) enum Unique {
    /// Nothing.
    Free,
    /// A mistake, except from two files.
    Refuse,
    /// The later one replaces the one with the same identity.
    By(fn(&Node) -> String),
}

/// What [`Shape::Pairs`] accepts.
#[derive(Clone, Copy)]
pub(crate) struct Pairs {
    /// Also as a list of `NAME=value`.
    pub(crate) list: bool,
    /// Booleans as values.
    pub(crate) flags: bool,
    /// Numbers as values.
    pub(crate) numbers: bool,
    /// What a name without a value means.
    pub(crate) null: NoValue,
}

/// What a name without a value means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoValue {
    /// It stays without one.
    Keep,
    /// Empty text.
    Empty,
    /// A mistake.
    Refuse,
}

/// Which names a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any.
    Any,
    /// Letters, digits, `.`, `_` and `-`.
    Identifier,
    /// Lower-case letters.
    Lower,
}

/// A mapping of known keys.
pub(crate) struct Object {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// Its keys in printing order.
    pub(crate) keys: &'static [Key],
    /// Whether `x-…` keys are allowed.
    pub(crate) extensions: bool,
    /// A last look at the whole.
    pub(crate) finish: Option<Finish>,
}

impl Object {
    /// The row of a key.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Object {
    /// Where a key stands in the mappings of this one: `deploy.replicas`.
    pub(crate) fn find(&self, name: &str) -> Option<String> {
        self.find_within(name, 2)
    }

    fn find_within(&self, name: &str, levels: usize) -> Option<String> {
        let inner = |key: &Key| match &key.shape {
            Shape::Object(inner) | Shape::Nullable(Shape::Object(inner)) => Some(*inner),
            Shape::Short { object, .. } => Some(*object),
            _ => None,
        };
        let direct = self.keys.iter().find_map(|key| {
            inner(key)?.key(name)?;
            Some(format!("{}.{name}", key.name))
        });
        direct.or_else(|| {
            let deeper = levels.checked_sub(1)?;
            self.keys.iter().find_map(|key| {
                let path = inner(key)?.find_within(name, deeper)?;
                Some(format!("{}.{path}", key.name))
            })
        })
    }
}

/// One key.
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) shape: Shape,
    /// How it is printed.
    pub(crate) print: Print,
    /// How two files merge it.
    pub(crate) merge: Merge,
    /// Whether it acts.
    pub(crate) support: Support,
    /// Whether the mapping is incomplete without it.
    pub(crate) needed: bool,
    /// The name in the printed document, where that is another one.
    pub(crate) printed_as: &'static str,
}

/// When a key is printed in `config`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    /// Unless it is empty, zero or false.
    UnlessEmpty,
    /// When it is there, also when it is zero or false.
    WhenSet,
    /// Always; null when it is absent.
    OrNull,
    /// Always; as an empty mapping when it is absent.
    AsMap,
    /// When it is there, names with values as a list of `NAME=value`.
    AsList,
    /// Never.
    Never,
}

/// How the value of a later file is merged into that of an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// As the shape says: mappings by key, lists appended, scalars replaced.
    ByShape,
    /// The later one replaces the earlier one.
    Replace,
    /// Options of a log driver merge only when the driver is the same.
    Logging,
    /// Address pools merge by subnet.
    Pools,
}

/// Whether a key acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// It does.
    Acts,
    /// It does not: a warning names it.
    Named(Named),
}

/// What the warning about a key says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    /// Name of the warning: `not-yet` for what a later version may do,
    /// `not-supported` for what has no meaning here.
    pub(crate) lint: &'static str,
    /// Why it does not act.
    pub(crate) reason: &'static str,
    /// What to write instead, where there is something.
    pub(crate) instead: Option<&'static str>,
}

impl Key {
    /// A key that acts, and is printed when it is not empty.
    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            shape,
            print: Print::UnlessEmpty,
            merge: Merge::ByShape,
            support: Support::Acts,
            needed: false,
            printed_as: name,
        }
    }

    const fn print(mut self, print: Print) -> Self {
        self.print = print;
        self
    }

    const fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// It could act, and does not in this version.
    const fn not_yet(self, reason: &'static str) -> Self {
        self.named("not-yet", reason)
    }

    /// It acts on a cluster, and not on an engine.
    const fn on_clusters(self, reason: &'static str) -> Self {
        self.named(ON_CLUSTERS, reason)
    }

    /// It has no meaning where shopctl deploys to.
    const fn never(self, reason: &'static str) -> Self {
        self.named("not-supported", reason)
    }

    const fn named(mut self, lint: &'static str, reason: &'static str) -> Self {
        self.support = Support::Named(Named {
            lint,
            reason,
            instead: None,
        });
        self
    }

    /// What to write in place of a key that does not act.
    const fn instead(mut self, text: &'static str) -> Self {
        if let Support::Named(mut named) = self.support {
            named.instead = Some(text);
            self.support = Support::Named(named);
        }
        self
    }

    const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    const fn printed_as(mut self, name: &'static str) -> Self {
        self.printed_as = name;
        self
    }
}

/// Why a key for Windows does nothing.
const WINDOWS: &str = "it is for Windows containers";

/// Shapes that many keys share.
const TEXTS: Shape = Shape::List {
    of: &Shape::Text,
    unique: Unique::Free,
};
const DISTINCT_TEXTS: Shape = Shape::List {
    of: &Shape::Text,
    unique: Unique::Refuse,
};
const NAMED_TEXTS: Shape = Shape::List {
    of: &Shape::Text,
    unique: Unique::By(name_before_equals),
};
const TEXT_OR_TEXTS: Shape = Shape::OneOrList {
    of: &Shape::Text,
    unique: Unique::By(name_before_equals),
};
const COUNT: Shape = Shape::Int {
    min: 0,
    max: i64::MAX,
};
const ANY_INT: Shape = Shape::Int {
    min: i64::MIN,
    max: i64::MAX,
};
const BYTES: Shape = Shape::Bytes {
    numbers: Numbers::Any,
};
const SIZE: Shape = Shape::Bytes {
    numbers: Numbers::Natural,
};
const BYTES_AS_TEXT: Shape = Shape::Bytes {
    numbers: Numbers::None,
};
const LABELS: Shape = Shape::Pairs(Pairs {
    list: true,
    flags: true,
    numbers: true,
    null: NoValue::Empty,
});
const ENVIRONMENT: Shape = Shape::Pairs(Pairs {
    list: true,
    flags: true,
    numbers: true,
    null: NoValue::Keep,
});
const OPTIONS: Shape = Shape::Pairs(Pairs {
    list: false,
    flags: false,
    numbers: true,
    null: NoValue::Refuse,
});
const TEXT_OPTIONS: Shape = Shape::Pairs(Pairs {
    list: false,
    flags: false,
    numbers: false,
    null: NoValue::Refuse,
});

/// Identity of `NAME=value` and of plain names.
fn name_before_equals(node: &Node) -> String {
    let text = node.scalar_text().unwrap_or_default();
    text.split('=').next().unwrap_or_default().to_owned()
}

/// Identity of entries with a `target`.
fn target_of(node: &Node) -> String {
    node.text_of("target").unwrap_or_default().to_owned()
}

/// A name alone that stands for an empty setting.
fn alone_null(name: &Node) -> Node {
    Node::new(super::yaml::Value::Null, name.span)
}
