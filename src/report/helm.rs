//! Objects of a cluster as a chart: what is often changed is in `values.yaml`, the rest as
//! it stands.
//!
//! Everything that Helm would take for its own language is written so that it comes out
//! again. Test: `tests/kubernetes/packages.rs` reads a chart back into the objects.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::output;
use super::package;
use super::package::File;

/// Where an object that has a count keeps it, and what that is called among the values.
const COUNTS: [(&str, &str, &str); 6] = [
    ("Deployment", "/spec/replicas", "replicas"),
    ("StatefulSet", "/spec/replicas", "replicas"),
    (
        "HorizontalPodAutoscaler",
        "/spec/minReplicas",
        "minReplicas",
    ),
    (
        "HorizontalPodAutoscaler",
        "/spec/maxReplicas",
        "maxReplicas",
    ),
    ("ScaledObject", "/spec/minReplicaCount", "minReplicas"),
    ("ScaledObject", "/spec/maxReplicaCount", "maxReplicas"),
];
/// The service that an object belongs to.
const SERVICE: &str = "/metadata/labels/app.kubernetes.io~1name";

/// A chart of these objects: its description, the values, and a template for each.
pub fn chart(stack: &str, objects: &[Value]) -> Vec<File> {
    let mut values = Values {
        mark: mark(objects),
        ..Values::default()
    };
    let templates: Vec<File> = (1..)
        .zip(objects)
        .map(|(number, object)| File {
            path: format!("templates/{}", package::name(number, object)),
            text: values.template(object),
        })
        .collect();
    let chart = json!({
        "apiVersion": "v2",
        "name": stack,
        "description": format!("The stack {stack}, rendered by shopctl"),
        "type": "application",
        "version": "0.1.0",
    });
    let file = |path: &str, document: &Value| File {
        path: path.to_owned(),
        text: output::yaml(document),
    };
    let mut files = vec![
        file("Chart.yaml", &chart),
        file("values.yaml", &json!({ "services": values.services })),
    ];
    files.extend(templates);
    files
}

/// What was taken out of objects.
#[derive(Default)]
struct Values {
    /// Values by service and name.
    services: BTreeMap<String, Map<String, Value>>,
    /// A word that is in no object.
    mark: String,
    /// Expressions that take the place of the words in the template at hand.
    expressions: Vec<String>,
}

impl Values {
    fn template(&mut self, object: &Value) -> String {
        let mut object = object.clone();
        self.expressions.clear();
        let service = object.pointer(SERVICE).and_then(Value::as_str);
        if let Some(service) = service.map(str::to_owned) {
            self.counts(&service, &mut object);
            self.image(&service, &mut object);
        }
        let mut text = output::yaml(&object).replace("{{", "{{ \"{{\" }}");
        for (number, expression) in self.expressions.iter().enumerate().rev() {
            text = text.replace(&word(&self.mark, number), expression);
        }
        text
    }

    fn counts(&mut self, service: &str, object: &mut Value) {
        for (kind, place, name) in COUNTS {
            if object["kind"] == kind
                && let Some(count) = object.pointer_mut(place)
            {
                let word = self.value(service, name, count.clone(), "");
                *count = Value::String(word);
            }
        }
    }

    /// The image of a workload. That of a job stays: no job can be changed, so another image
    /// needs another name, which is made from its content.
    fn image(&mut self, service: &str, object: &mut Value) {
        if object["kind"] == "Job" {
            return;
        }
        let pod = "/spec/template/spec";
        let Some(image) = object
            .pointer(&format!("{pod}/containers/0/image"))
            .cloned()
        else {
            return;
        };
        let word = self.value(service, "image", image.clone(), " | quote");
        // What runs before it is of the same image unless the file names another one.
        for list in ["initContainers", "containers"] {
            let list = object.pointer_mut(&format!("{pod}/{list}"));
            for container in list.and_then(Value::as_array_mut).into_iter().flatten() {
                if container["image"] == image {
                    container["image"] = Value::String(word.clone());
                }
            }
        }
    }

    /// Takes a value, and gives the word that stands for it.
    fn value(&mut self, service: &str, name: &str, value: Value, pipe: &str) -> String {
        let values = self.services.entry(service.to_owned()).or_default();
        values.insert(name.to_owned(), value);
        let expression = format!("{{{{ index .Values.services \"{service}\" \"{name}\"{pipe} }}}}");
        self.expressions.push(expression);
        word(&self.mark, self.expressions.len() - 1)
    }
}

fn word(mark: &str, number: usize) -> String {
    format!("{mark}{number}")
}

/// A word of letters that no object has.
fn mark(objects: &[Value]) -> String {
    let all: String = objects.iter().map(output::yaml).collect();
    let mut mark = "shopctlvalue".to_owned();
    while all.contains(&mark) {
        mark.push('x');
    }
    mark
}
