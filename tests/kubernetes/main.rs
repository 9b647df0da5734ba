//! The objects of a cluster: golden manifests, what is said of keys that mean something else
//! there, and the schemas of six versions of the server over all of them and the real shops.

#[path = "../support/cases.rs"]
mod cases;
mod packages;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use shopctl::backend::kubernetes::Apis;
use shopctl::backend::kubernetes::Finding;
use shopctl::backend::kubernetes::Rendered;
use shopctl::backend::kubernetes::Rendering;
use shopctl::backend::kubernetes::rbac;
use shopctl::backend::kubernetes::render;
use shopctl::report::output;
use shopctl::stack;
use shopctl::stack::LoadRequest;
use shopctl::state::resolve;

/// Versions of the server whose schemas must take all objects.
const VERSIONS: [&str; 6] = ["1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A stack as objects, its images built unless they are not to be.
fn rendered(request: &LoadRequest, how: &Rendering) -> Result<Rendered, String> {
    let loaded = stack::load(request).map_err(|problems| format!("{problems:?}"))?;
    let mut inputs = resolve::Inputs::default();
    for service in loaded.stack.services.values() {
        if service.build.is_some() && service.name != "d" {
            let tag = format!("{}-{}:0123456789ab", loaded.stack.name, service.name);
            inputs.tags.insert(service.name.clone(), tag);
        }
    }
    for path in resolve::files(&loaded.stack) {
        inputs
            .contents
            .insert(path.clone(), fs::read(&path).unwrap_or_default());
    }
    let resolved = resolve::resolve(&loaded.stack, &inputs);
    let resolved = resolved.map_err(|problems| format!("{problems:?}"))?;
    Ok(render(&resolved.desired, how))
}

fn request(file: &Path) -> LoadRequest {
    LoadRequest {
        files: vec![file.to_owned()],
        working_dir: root().to_owned(),
        environment: BTreeMap::from([("PASSWORD".to_owned(), "s3cret".to_owned())]),
        ..LoadRequest::default()
    }
}

/// Stacks that become something else where the cluster has more.
const OTHERWISE: [&str; 2] = ["routes", "scaled"];

fn rendered_with_all(path: &Path) -> Rendered {
    let how = Rendering {
        apis: Apis::default().with_keda().with_openshift(),
        ..shop()
    };
    rendered(&request(path), &how).expect("it loads")
}

fn shop() -> Rendering {
    Rendering {
        registry: "registry.example.com/shop/".to_owned(),
        ..Rendering::default()
    }
}

fn text(rendered: &Rendered) -> String {
    let mut text = findings(&rendered.findings);
    let tasks = rendered.tasks.iter().map(|task| &task.manifest.0);
    let apart = rendered.next.iter().chain(tasks);
    for object in rendered.objects.iter().chain(apart) {
        write!(text, "---\n{}", output::yaml(object)).expect("text");
    }
    text
}

fn findings(findings: &[Finding]) -> String {
    let line = |one: &Finding| {
        let refused = if one.refused { "REFUSED " } else { "" };
        format!("# {refused}{} {}: {}\n", one.service, one.key, one.text)
    };
    findings.iter().map(line).collect()
}

/// The stacks of the project and of this test, by name.
fn own() -> BTreeMap<String, PathBuf> {
    let folders = ["stacks", "tests/kubernetes/stacks"];
    let files = folders.into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        entries.map(|entry| entry.expect("readable").path())
    });
    files
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .filter(|path| !path.to_string_lossy().contains(".public"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), path.clone())
        })
        .collect()
}

/// Snapshots that are called as what is in them.
fn plain_snapshots() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind_to_scope()
}

#[test]
fn every_stack_gives_its_objects() {
    let own = own();
    assert!(
        own.contains_key("shop") && own.contains_key("everything"),
        "{own:?}"
    );
    let _scope = plain_snapshots();
    for (name, path) in own {
        let rendered = rendered(&request(&path), &shop()).expect("it loads");
        let text_of = |it: &Rendered| text(it).replace(&*root().to_string_lossy(), "@ROOT@");
        let text = text_of(&rendered);
        insta::assert_snapshot!(name.clone(), text);
        if OTHERWISE.contains(&name.as_str()) {
            let rendered = rendered_with_all(&path);
            insta::assert_snapshot!(format!("{name}-with-all"), text_of(&rendered));
        }
    }
}

/// Objects of a kind, by name.
fn of_kind<'a>(rendered: &'a Rendered, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let objects = rendered.objects.iter();
    objects
        .filter(|object| object["kind"] == kind)
        .map(|object| (object["metadata"]["name"].as_str().expect("a name"), object))
        .collect()
}

#[test]
fn a_count_has_one_keeper() {
    let file = root().join("tests/kubernetes/stacks/scaled.yaml");
    let rendered = |apis: Apis| {
        let how = Rendering { apis, ..shop() };
        rendered(&request(&file), &how).expect("it loads")
    };
    let kept = |it: &Rendered| -> Vec<String> {
        let workloads = ["Deployment", "StatefulSet"].map(|kind| of_kind(it, kind));
        let workloads = workloads.iter().flatten();
        let counted = workloads.filter(|(_, object)| object["spec"].get("replicas").is_some());
        counted.map(|(name, _)| (*name).to_owned()).collect()
    };
    let plain = rendered(Apis::default());
    assert_eq!(kept(&plain), ["endless", "single"]);
    assert_eq!(of_kind(&plain, "HorizontalPodAutoscaler").len(), 3);
    let keda = rendered(Apis::default().with_keda());
    assert_eq!(kept(&keda), ["endless", "single"]);
    assert_eq!(of_kind(&keda, "HorizontalPodAutoscaler").len(), 0);
    assert_eq!(of_kind(&keda, "ScaledObject").len(), 3);
    // A server that can keep no count must be told one.
    let old = rendered(["apps/v1"].into_iter().collect());
    assert_eq!(kept(&old).len(), 5);
    for kind in [
        "HorizontalPodAutoscaler",
        "ScaledObject",
        "PodDisruptionBudget",
    ] {
        assert_eq!(of_kind(&old, kind).len(), 0, "{kind}");
    }
}

#[test]
fn a_count_that_changes_later_changes_nothing_else() {
    let file = root().join("tests/kubernetes/stacks/everything.yaml");
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("everything.yaml");
    let text = fs::read_to_string(&file).expect("readable");
    assert!(text.contains("replicas: 3") && text.contains("replicas: 2"));
    let text = text.replace("replicas: 3", "replicas: 1");
    fs::write(&other, text.replace("replicas: 2", "replicas: 7")).expect("written");
    let objects = |file: &Path| {
        let mut rendered = rendered(&request(file), &shop()).expect("it loads");
        for object in &mut rendered.objects {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove("replicas");
            }
        }
        output::yaml(&rendered.objects)
    };
    same_lines(&objects(&file), &objects(&other));
}

fn same_lines(one: &str, other: &str) {
    for (one, other) in one.lines().zip(other.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
}

#[test]
fn nobody_is_named_on_openshift_but_by_the_cluster() {
    for (name, path) in own() {
        for (service, object) in of_kind(&rendered_with_all(&path), "Deployment") {
            let text = output::yaml(object);
            let standard = text.contains("runAsNonRoot: true");
            let named = ["runAsUser", "runAsGroup", "fsGroup"].map(|key| text.contains(key));
            assert!(
                !standard || !named.contains(&true),
                "{name}: {service}: {text}"
            );
        }
    }
}

/// Group and plural of an object's kind, as rules name them.
fn resource(object: &Value) -> (String, String) {
    let text = |key: &str| object[key].as_str().expect(key).to_owned();
    let version = text("apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = text("kind").to_lowercase();
    let plural = match kind.as_str() {
        "servicedefaults" => kind,
        _ if kind.ends_with('y') => format!("{}ies", kind.trim_end_matches('y')),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    };
    (group.to_owned(), plural)
}

#[test]
fn who_deploys_may_do_what_a_stack_needs_and_no_more() {
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| one.as_str().expect("text").to_owned())
            .collect()
    };
    let may = rbac("Big_Shop", &Apis::default().with_keda().with_openshift());
    let rules = |kind: &str| -> Vec<Value> {
        let role = may.iter().find(|object| object["kind"] == kind);
        role.expect(kind)["rules"]
            .as_array()
            .expect("rules")
            .clone()
    };
    for (name, path) in own() {
        let more = rendered_with_all(&path);
        let plain = rendered(&request(&path), &shop()).expect("it loads");
        for object in plain.objects.iter().chain(&more.objects) {
            let (group, plural) = resource(object);
            let of = if plural == "namespaces" {
                "ClusterRole"
            } else {
                "Role"
            };
            let allowed: std::collections::BTreeSet<String> = rules(of)
                .iter()
                .filter(|rule| texts(&rule["apiGroups"]).contains(&group))
                .filter(|rule| texts(&rule["resources"]).contains(&plural))
                .flat_map(|rule| texts(&rule["verbs"]))
                .collect();
            for verb in ["create", "get", "patch", "delete"] {
                assert!(allowed.contains(verb), "{name}: {verb} {plural}.{group}");
            }
        }
    }
    for rule in rules("Role").iter().chain(&rules("ClusterRole")) {
        let rule = rule.to_string();
        for word in ["*", "escalate", "bind", "impersonate", "rbac."] {
            assert!(!rule.contains(word), "{word} in {rule}");
        }
    }
    let mut text = String::new();
    for object in &may {
        write!(text, "---\n{}", output::yaml(object)).expect("text");
    }
    let _scope = plain_snapshots();
    insta::assert_snapshot!("rbac", text);
    // What a cluster has not is not asked for.
    let plain = output::yaml(&rbac("shop", &["apps/v1"].into_iter().collect()));
    assert!(!plain.contains("istio") && !plain.contains("keda") && !plain.contains("route"));
}

#[test]
fn values_of_secrets_are_written_on_request_alone() {
    let file = root().join("tests/kubernetes/stacks/everything.yaml");
    let encoded = "czNjcmV0";
    let without = rendered(&request(&file), &shop()).expect("it loads");
    assert!(!text(&without).contains(encoded));
    let how = Rendering {
        secrets: true,
        ..shop()
    };
    let with = rendered(&request(&file), &how).expect("it loads");
    assert!(text(&with).contains(encoded));
}

/// Holds the Routes of a file against the definition that `OpenShift` has of them.
const ROUTES: &str = r#"
import sys, yaml, jsonschema
definition, *files = sys.argv[1:]
schema = yaml.safe_load(open(definition))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
def strict(node):
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        for key in [key for key, inner in node.items() if inner is None]: del node[key]
        for inner in list(node.values()): strict(inner)
    if isinstance(node, list):
        for inner in node: strict(inner)
strict(schema)
schema["properties"]["metadata"] = {"type": "object"}
routes = [it for file in files for it in yaml.safe_load_all(open(file)) if it and it["kind"] == "Route"]
for route in routes: jsonschema.validate(route, schema)
print(len(routes))
"#;

#[test]
#[ignore = "kubernetes-validate"]
fn the_definition_of_routes_takes_every_route() {
    let definition = root().join("../shared/kubernetes/crds/route.crd.yaml");
    if !definition.exists() {
        return;
    }
    let tool = tool();
    let python = tool.with_file_name("python");
    let python = if python.exists() {
        python
    } else {
        PathBuf::from("python3")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: &str| {
        let file = folder.path().join("routes.yaml");
        fs::write(&file, text).expect("written");
        let output = Command::new(&python)
            .args(["-c", ROUTES])
            .arg(&definition)
            .arg(&file)
            .output()
            .expect("python");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let text = text(&rendered_with_all(
        &root().join("tests/kubernetes/stacks/routes.yaml"),
    ));
    assert_eq!(check(&text), (true, "4".to_owned()));
    // It would say so.
    for (good, bad) in [
        ("subdomain:", "subdomian:"),
        ("edge", "egde"),
        ("path: /api", "path: api"),
    ] {
        assert!(text.contains(good), "{good}");
        assert!(!check(&text.replace(good, bad)).0, "{bad}");
    }
}

fn tool() -> PathBuf {
    let own = root().join("target/test-tools/bin/kubernetes-validate");
    std::env::var_os("KUBERNETES_VALIDATE").map_or(own, PathBuf::from)
}

/// Holds texts against the schemas of a version; what it said when they do not fit.
fn validate(version: &str, files: &[PathBuf]) -> Result<(), String> {
    let output = Command::new(tool())
        .args(["--strict", "--quiet", "-k", version])
        .args(files)
        .output()
        .expect("kubernetes-validate: ./install.sh test-tools, or KUBERNETES_VALIDATE=FILE");
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|one| String::from_utf8_lossy(&one).into_owned());
    Err(said.concat())
}

#[test]
#[ignore = "kubernetes-validate"]
fn the_schemas_of_the_server_take_every_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, rendered: &Rendered| {
        let path = folder.path().join(format!("{name}.yaml"));
        fs::write(&path, text(rendered)).expect("written");
        path
    };
    let mut files: Vec<PathBuf> = own()
        .iter()
        .map(|(name, path)| write(name, &rendered(&request(path), &shop()).expect("it loads")))
        .collect();
    let all = own();
    let more = all
        .iter()
        .filter(|(name, _)| OTHERWISE.contains(&name.as_str()))
        .map(|(name, path)| write(&format!("{name}-with-all"), &rendered_with_all(path)));
    files.extend(more);
    let may = rbac("shop", &Apis::default().with_keda().with_openshift());
    let may = Rendered {
        objects: may,
        ..Rendered::default()
    };
    files.push(write("rbac", &may));
    for version in VERSIONS {
        validate(version, &files).unwrap_or_else(|said| panic!("{version}: {said}"));
    }
    // Real shops that can be loaded; what of them cannot work there is left out.
    let work = tempfile::tempdir().expect("a folder");
    let mut shops = Vec::new();
    for (name, path) in cases::outside().iter().flat_map(|all| cases::list(all)) {
        if !name.starts_with("shop-") || !path.join("expected.json").exists() {
            continue;
        }
        if let Ok(rendered) = rendered(&cases::lay(&path, work.path()), &shop()) {
            shops.push(write(&name, &rendered));
        }
    }
    if !shops.is_empty() {
        let newest = VERSIONS[VERSIONS.len() - 1];
        validate(newest, &shops).unwrap_or_else(|said| panic!("{newest}: {said}"));
    }
    // It would say so.
    let wrong = folder.path().join("wrong.yaml");
    let bad = fs::read_to_string(&files[0])
        .expect("readable")
        .replace("replicas: ", "replicaz: ");
    fs::write(&wrong, bad).expect("written");
    assert!(validate(VERSIONS[0], &[wrong]).is_err());
}
