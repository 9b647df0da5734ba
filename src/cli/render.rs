//! `render`: the objects that a stack becomes on a cluster, for those who look at them or
//! apply them by other means. No cluster and no engine is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use super::args::BackendArg;
use super::args::Files;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::project::Project;
use super::registry::Registry;
use crate::backend::kubernetes;
use crate::backend::kubernetes::Apis;
use crate::backend::kubernetes::Finding;
use crate::backend::kubernetes::Rendering;
use crate::report::Format;
use crate::report::helm;
use crate::report::output;
use crate::report::package;
use crate::report::package::File;

/// `render`.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Example:\n  shopctl render --backend kubernetes --registry registry.example.com/shop"
)]
pub struct RenderArgs {
    /// As what: the objects, a chart for Helm, or a base for Kustomize
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub format: Form,
    /// Write one file per object into this folder, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the images are.
    #[command(flatten)]
    pub registry: Registry,
    /// Write the values of secrets too
    #[arg(long)]
    pub secrets: bool,
    /// What the cluster has, beside what each one has
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub has: Vec<Has>,
    /// Stack files
    #[command(flatten)]
    pub files: Files,
}

/// What objects are written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Objects
    #[default]
    Yaml,
    /// A chart, its images and counts among the values
    Helm,
    /// Objects and a kustomization.yaml that lists them
    Kustomize,
}

/// What some clusters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Has {
    /// KEDA, which lets counts follow the clock
    Keda,
    /// What `OpenShift` has: a Route in place of each Ingress, and users that it chooses
    Openshift,
}

fn served(has: &[Has]) -> Apis {
    has.iter().fold(Apis::default(), |apis, one| match one {
        Has::Keda => apis.with_keda(),
        Has::Openshift => apis.with_openshift(),
    })
}

/// Prints the objects.
pub(super) fn run(desk: &Desk<'_>, args: &RenderArgs) -> Result<Exit, CliError> {
    let settings = desk.settings;
    if args.format != Form::Yaml && args.out.is_none() {
        return Err(
            CliError::usage("a chart or a base is a folder, and none is named")
                .hint("shopctl render --format helm --out chart"),
        );
    }
    let loaded = desk.load_anywhere()?;
    if settings.backend_of(&loaded.stack) != BackendArg::Kubernetes {
        return Err(CliError::usage("only a cluster has objects to render")
            .hint("shopctl render --backend kubernetes"));
    }
    let project = Project::new(
        loaded.stack,
        &settings.load.environment,
        &settings.cache,
        &[],
        Naming::WherePossible,
    )?;
    let rendered = kubernetes::render(
        &project.desired,
        &Rendering {
            registry: args.registry.prefix.clone(),
            digests: BTreeMap::new(),
            secrets: args.secrets,
            apis: served(&args.has),
        },
    );
    let (refused, noted): (Vec<&Finding>, Vec<&Finding>) = rendered
        .findings
        .iter()
        .partition(|finding| finding.refused);
    if !settings.quiet {
        for finding in noted {
            desk.console.err(&format!("note: {}", words(finding)));
        }
    }
    if !refused.is_empty() {
        let keys = if refused.len() == 1 { "key" } else { "keys" };
        let message = format!(
            "{} {keys} of the file cannot work on a cluster",
            refused.len()
        );
        return Err(CliError::new(Exit::StackInvalid, message)
            .detail(refused.into_iter().map(words).collect()));
    }
    let objects = &rendered.objects;
    let Some(folder) = &args.out else {
        desk.console.out(&all(settings.format, objects))?;
        return Ok(Exit::Done);
    };
    let files = match args.format {
        Form::Yaml => package::plain(objects),
        Form::Kustomize => package::kustomize(objects),
        Form::Helm => helm::chart(&kubernetes::name_of(&project.desired.stack), objects),
    };
    write(folder, &files)?;
    Ok(Exit::Done)
}

fn words(finding: &Finding) -> String {
    if finding.service.is_empty() {
        return format!("{}: {}", finding.key, finding.text);
    }
    format!("{}: {}: {}", finding.service, finding.key, finding.text)
}

/// Whatever a cluster may serve: a look lists it where it is served.
fn all_apis() -> Apis {
    Apis::default().with_keda().with_openshift()
}

/// Prints what whoever deploys the stack must be allowed to do.
pub(super) fn rights(desk: &Desk<'_>) -> Result<Exit, CliError> {
    let loaded = desk.load_anywhere()?;
    let objects = kubernetes::rbac(&loaded.stack.name, &all_apis());
    desk.console.out(&all(desk.settings.format, &objects))?;
    Ok(Exit::Done)
}

/// All objects as one text.
fn all(format: Format, objects: &[Value]) -> String {
    if format == Format::Json {
        return output::json(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    }
    let texts: Vec<String> = objects.iter().map(output::yaml).collect();
    texts.join("---\n")
}

/// Writes files into a folder that has none yet.
fn write(folder: &Path, files: &[File]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::caused(
            Exit::Internal,
            format!("cannot write to {}", folder.display()),
            &error,
        )
    };
    fs::create_dir_all(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        let message = format!(
            "{} is not empty, and what is left there would be applied too",
            folder.display()
        );
        return Err(CliError::usage(message).hint(format!("rm -r {}", folder.display())));
    }
    for one in files {
        let path = folder.join(&one.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        // Values of secrets may be in it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(one.text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
