//! Charts and bases: what comes out of them are the objects that went in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use shopctl::report::helm;
use shopctl::report::output;
use shopctl::report::package;
use shopctl::report::package::File;

use super::own;
use super::plain_snapshots;
use super::rendered;
use super::rendered_with_all;
use super::request;
use super::root;
use super::shop;

/// What Helm makes of a template of ours: the two forms of expressions, and nothing else of
/// its language may be left.
fn executed(template: &str, values: &Value) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{ ") {
        assert!(!before.contains("{{"), "{before}");
        text.push_str(before);
        let (expression, after) = after.split_once(" }}").expect("an end");
        rest = after;
        if expression == "\"{{\"" {
            text.push_str("{{");
            continue;
        }
        let words: Vec<&str> = expression.split(' ').collect();
        let (["index", ".Values.services", service, name], pipe) = words.split_at(4) else {
            panic!("{expression}");
        };
        let value = &values["services"][service.trim_matches('"')][name.trim_matches('"')];
        match (value, pipe) {
            (Value::String(value), ["|", "quote"]) => write!(text, "{value:?}").expect("text"),
            (Value::Number(value), []) => text.push_str(&value.to_string()),
            _ => panic!("{expression} is {value}"),
        }
    }
    assert!(!rest.contains("{{"), "{rest}");
    text + rest
}

fn parsed(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

#[test]
fn a_chart_gives_the_objects_that_went_in() {
    for (name, path) in own() {
        let mut rendered = rendered_with_all(&path);
        // What Helm would take for its own.
        for object in &mut rendered.objects {
            let odd = "{{ .Values.a }} {{{{- x -}}}} \n {{\"{{\"}} }} {% ${A} shopctlvalue0";
            object["metadata"]["annotations"]["odd"] = Value::String(odd.to_owned());
        }
        let files = helm::chart(&name, &rendered.objects);
        let (chart, files) = files.split_first().expect("a chart");
        assert_eq!(parsed(&chart.text)["apiVersion"], "v2");
        let (values, templates) = files.split_first().expect("values");
        assert_eq!(
            (chart.path.as_str(), values.path.as_str()),
            ("Chart.yaml", "values.yaml")
        );
        let values = parsed(&values.text);
        let made = templates
            .iter()
            .map(|file| parsed(&executed(&file.text, &values)));
        assert_eq!(made.collect::<Vec<Value>>(), rendered.objects, "{name}");
    }
}

#[test]
fn images_and_counts_of_a_chart_are_values() {
    let path = root().join("tests/kubernetes/stacks/everything.yaml");
    let rendered = rendered(&request(&path), &shop()).expect("it loads");
    let files = helm::chart("big-shop", &rendered.objects);
    let shown = |path: &str| {
        let file = files
            .iter()
            .find(|file| file.path.contains(path))
            .expect(path);
        format!("# {}\n{}", file.path, file.text)
    };
    let _scope = plain_snapshots();
    insta::assert_snapshot!("chart", shown("Chart.yaml") + &shown("values.yaml"));
    // Another image needs another name, and counts of what it is for.
    assert!(!shown("job-").contains("{{"));
    let mut changed: BTreeMap<String, Value> =
        serde_yaml::from_str(&shown("values.yaml")).expect("YAML");
    let order = &mut changed.get_mut("services").expect("services")["order-service"];
    (order["image"], order["replicas"]) = (Value::from("other:2"), Value::from(7));
    let changed = serde_json::to_value(changed).expect("JSON");
    let order = parsed(&executed(&shown("deployment-order"), &changed));
    assert_eq!(order["spec"]["replicas"], 7);
    assert_eq!(
        order["spec"]["template"]["spec"]["containers"][0]["image"],
        "other:2"
    );
}

#[test]
fn a_base_lists_every_object_in_its_order() {
    let path = root().join("tests/kubernetes/stacks/everything.yaml");
    let objects = rendered(&request(&path), &shop())
        .expect("it loads")
        .objects;
    let files = package::kustomize(&objects);
    let (list, files) = files.split_first().expect("a list");
    assert_eq!(list.path, "kustomization.yaml");
    let listed = &parsed(&list.text)["resources"];
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(listed, &Value::from(paths));
    let texts = |files: &[File]| {
        files
            .iter()
            .map(|file| file.text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        texts(files),
        objects.iter().map(output::yaml).collect::<Vec<_>>()
    );
    assert_eq!(texts(files), texts(&package::plain(&objects)));
}
