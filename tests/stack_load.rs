//! Loading from folders: which files are found, which variables count, and
//! what the typed stack then says.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use shopctl::stack::LoadRequest;
use shopctl::stack::Loaded;
use shopctl::stack::load;
use shopctl::stack::model::BackendKind;
use shopctl::stack::model::CapacityMode;
use shopctl::stack::model::Class;
use shopctl::stack::model::Condition;
use shopctl::stack::model::FileSource;
use shopctl::stack::model::HealthTest;
use shopctl::stack::model::MountSource;
use shopctl::stack::model::Ready;
use shopctl::stack::model::Restart;
use shopctl::stack::model::UpdateOrder;
use shopctl::stack::model::VolumeAccess;
use shopctl::stack::units::NanoCpus;
use shopctl::stack::units::Ratio;

/// A folder `shop` with these files.
struct Folder {
    _work: tempfile::TempDir,
    path: PathBuf,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("shop");
        for (name, text) in files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { _work: work, path }
    }

    fn request(&self) -> LoadRequest {
        LoadRequest {
            working_dir: self.path.clone(),
            ..LoadRequest::default()
        }
    }

    fn with(&self, variables: &[(&str, &str)]) -> LoadRequest {
        LoadRequest {
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..self.request()
        }
    }
}

fn loaded(request: &LoadRequest) -> Loaded {
    load(request).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Images by service.
fn images(request: &LoadRequest) -> Vec<String> {
    loaded(request).document.images().into_values().collect()
}

fn service(image: &str) -> String {
    format!("services: {{a: {{image: \"{image}\"}}}}\n")
}

#[test]
fn stack_yaml_comes_before_compose_yaml() {
    let folder = Folder::new(&[
        ("stack.yaml", &service("stack:1")),
        ("compose.yaml", &service("compose:1")),
        ("compose.override.yaml", &service("override:1")),
    ]);
    let loaded = loaded(&folder.request());
    assert_eq!(loaded.stack.files, [folder.path.join("stack.yaml")]);
    assert_eq!(loaded.stack.name, "shop");
    assert_eq!(loaded.warnings[0].name, "several-files");
}

#[test]
fn the_override_file_is_merged() {
    let folder = Folder::new(&[
        ("docker-compose.yml", &service("base:1")),
        ("docker-compose.override.yml", &service("override:1")),
        ("stack.override.yaml", &service("other:1")),
    ]);
    assert_eq!(images(&folder.request()), ["override:1"]);
}

#[test]
fn folders_above_are_searched() {
    let folder = Folder::new(&[
        ("compose.yaml", &service("above:1")),
        ("deep/er/readme", ""),
    ]);
    let request = LoadRequest {
        working_dir: folder.path.join("deep/er"),
        ..folder.request()
    };
    let loaded = loaded(&request);
    assert_eq!(loaded.stack.working_dir, folder.path);
    assert_eq!(loaded.stack.name, "shop");
}

#[test]
fn files_that_are_named_are_merged_in_order() {
    let folder = Folder::new(&[
        ("a.yaml", &service("a:1")),
        ("sub/b.yaml", &service("b:1")),
        ("compose.yaml", &service("compose:1")),
    ]);
    let request = LoadRequest {
        files: vec!["a.yaml".into(), "sub/b.yaml".into()],
        ..folder.request()
    };
    assert_eq!(images(&request), ["b:1"]);
    assert_eq!(loaded(&request).stack.working_dir, folder.path);
    let request = folder.with(&[("COMPOSE_FILE", "sub/b.yaml:a.yaml")]);
    assert_eq!(images(&request), ["a:1"]);
    assert_eq!(loaded(&request).stack.working_dir, folder.path.join("sub"));
    let request = folder.with(&[
        ("COMPOSE_FILE", "a.yaml;sub/b.yaml"),
        ("COMPOSE_PATH_SEPARATOR", ";"),
    ]);
    assert_eq!(images(&request), ["b:1"]);
}

#[test]
fn standard_input_is_a_file() {
    let folder = Folder::new(&[("readme", "")]);
    let request = LoadRequest {
        files: vec!["-".into()],
        stdin: Some("services: {a: {build: ./a}}".to_owned()),
        ..folder.request()
    };
    let loaded = loaded(&request);
    let build = loaded.stack.services["a"].build.clone().unwrap();
    assert_eq!(Path::new(&build.context), folder.path.join("a"));
}

#[test]
fn variables_come_from_the_environment_then_from_env_files() {
    let folder = Folder::new(&[
        ("compose.yaml", &service("${A:-x}-${B:-x}-${C:-x}:1")),
        (".env", "A=dot\nB=dot\n"),
        ("one.env", "A=one\nC=one\n"),
        ("two.env", "C=two-${A}\n"),
    ]);
    assert_eq!(images(&folder.request()), ["dot-dot-x:1"]);
    assert_eq!(images(&folder.with(&[("A", "shell")])), ["shell-dot-x:1"]);
    let request = LoadRequest {
        env_files: vec!["one.env".into(), "two.env".into()],
        ..folder.request()
    };
    assert_eq!(images(&request), ["one-x-two-one:1"]);
    let request = folder.with(&[("COMPOSE_ENV_FILES", "one.env")]);
    assert_eq!(images(&request), ["one-x-one:1"]);
    let request = folder.with(&[("COMPOSE_DISABLE_ENV_FILE", "1")]);
    assert_eq!(images(&request), ["x-x-x:1"]);
}

#[test]
fn the_project_name_has_an_order() {
    let folder = Folder::new(&[
        (
            "compose.yaml",
            &format!("name: file\n{}", service("a:${COMPOSE_PROJECT_NAME}")),
        ),
        ("plain.yaml", &service("a:1")),
    ]);
    let name = |request: &LoadRequest| loaded(request).stack.name;
    let plain = LoadRequest {
        files: vec!["plain.yaml".into()],
        ..folder.request()
    };
    assert_eq!(name(&plain), "shop");
    assert_eq!(name(&folder.request()), "file");
    assert_eq!(images(&folder.request()), ["a:file"]);
    let variable = folder.with(&[("COMPOSE_PROJECT_NAME", "variable")]);
    assert_eq!(name(&variable), "variable");
    let flag = LoadRequest {
        project_name: Some("flag".to_owned()),
        ..variable
    };
    assert_eq!(name(&flag), "flag");
}

#[test]
fn profiles_select_services_and_what_they_need() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "services:
  a: {image: \"a:1\", networks: [front]}
  b: {image: \"b:1\", profiles: [extra], volumes: [\"data:/data\"]}
  c: {image: \"c:1\", profiles: [other], depends_on: {a: {condition: service_started}}}
networks: {front: {}, unused: {}}
volumes: {data: {}}
",
    )]);
    let plain = loaded(&folder.request()).stack;
    assert_eq!(plain.services.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(plain.inactive.iter().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(
        plain.profiles.iter().collect::<Vec<_>>(),
        ["extra", "other"]
    );
    assert_eq!(plain.networks.keys().collect::<Vec<_>>(), ["front"]);
    assert!(plain.volumes.is_empty());
    let extra = loaded(&folder.with(&[("COMPOSE_PROFILES", "extra")])).stack;
    assert_eq!(extra.services.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(extra.volumes["data"].name, "shop_data");
    let named = LoadRequest {
        services: vec!["c".to_owned()],
        ..folder.request()
    };
    let named = loaded(&named).stack;
    assert_eq!(named.services.keys().collect::<Vec<_>>(), ["a", "c"]);
    let all = LoadRequest {
        profiles: vec!["*".to_owned()],
        ..folder.request()
    };
    assert_eq!(loaded(&all).stack.services.len(), 3);
}

#[test]
fn an_article_s_file_loads_as_it_stands() {
    let folder = Folder::new(&[(
        "docker-compose.yml",
        "version: '3'
services:
  order_service:
    build: .
    ports:
      - \"8000:8000\"
  goods_service:
    build: .
    ports:
      - \"8001:8001\"
",
    )]);
    let stack = loaded(&folder.request()).stack;
    let order = &stack.services["order_service"];
    assert_eq!(order.build.as_ref().unwrap().dockerfile, "Dockerfile");
    assert_eq!(
        (order.ports[0].target, order.ports[0].published),
        (8000, Some(8000))
    );
    assert_eq!(order.replicas(), 1);
    assert_eq!(order.ports[0].place.to_string(), "docker-compose.yml:6:9");
    assert_eq!(order.place.to_string(), "docker-compose.yml:3:3");
    assert_eq!(
        order.place_of("build").to_string(),
        "docker-compose.yml:4:5"
    );
    assert!(stack.networks.contains_key("default"));
}

#[test]
fn a_later_problem_can_show_the_line_of_a_port() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "services:\n  a: {image: \"a:1\", ports: [\"80:80\"]}\n",
    )]);
    let loaded = loaded(&folder.request());
    let snippet = loaded.snippet(&loaded.stack.services["a"].ports[0].place);
    assert_eq!(snippet.place.to_string(), "compose.yaml:2:29");
    assert_eq!(
        snippet.line.as_deref(),
        Some("  a: {image: \"a:1\", ports: [\"80:80\"]}")
    );
}

#[test]
fn a_shop_says_what_the_specification_has_no_word_for() {
    let folder = Folder::new(&[(
        "stack.yaml",
        r#"name: shop
services:
  order:
    build: { context: .., dockerfile: services/order/Dockerfile }
    ports: ["127.0.0.1:8000:8000", {target: 8001, published: 8001, x-shop: {route: {path: /admin, host: shop.local}}}]
    depends_on: { db: { condition: service_healthy } }
    restart: on-failure:3
    deploy:
      replicas: 2
      resources: { reservations: { cpus: "0.25", memory: 64M } }
      update_config: { order: start-first, parallelism: 1, monitor: 5s, failure_action: rollback }
    x-shop:
      build:    { prepare: [["cargo", "build"], "touch 'a b'"], inputs: ["services/**", "Cargo.lock"] }
      class:    latency
      ready:    { http: /readyz, port: 8000, timeout: 1m }
      route:    { path: /api/orders, port: 8000 }
      slo:      { latency_p95: 50ms, error_rate: 0.1% }
      autoscale: { min: 2, max: 10, rps_per_replica: 200, schedules: [{ at: "2026-11-11T00:00+08:00", for: 2h, replicas: 8, lead: 10m }] }
      volumes:  { cache: { access: single } }
      hooks:    { pre_deploy: { command: /order migrate --all, timeout: 60s, environment: { STEP: 1 } }, post_deploy: { command: [/order, warm] } }
  db:
    image: postgres:16
    volumes: [data:/data, ./conf:/conf:ro, {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
    secrets: [password]
    configs: [{source: settings, target: /etc/settings, mode: 0440}]
    healthcheck: { test: [CMD, pg_isready], interval: 2s }
    mem_limit: 1g
    x-shop: { class: stateful, ready: {tcp: 5432}, gateway: false }
  old: { image: "old:1", volumes: ["data:/data"], network_mode: "service:db" }
volumes: { data: {}, cache: {} }
secrets: { password: { environment: PASSWORD } }
configs: { settings: { content: "a=b" } }
x-shop: { backend: docker, capacity: strict, secrets: memory, volumes: { data: { access: single } }, reserve: { cpu: 1 }, hooks: { service: order, on_rollback: { command: [/order, undo] } } }
"#,
    )]);
    let stack = loaded(&folder.with(&[("PASSWORD", "s3cret")])).stack;
    assert_eq!(stack.shop.backend, Some(BackendKind::Docker));
    assert_eq!(stack.shop.capacity, CapacityMode::Strict);
    assert_eq!(stack.shop.later["reserve"]["cpu"], 1);

    let order = &stack.services["order"];
    let shop = order.shop.as_ref().unwrap();
    let prepare = shop.prepare.as_ref().unwrap();
    assert_eq!(
        prepare.commands,
        [vec!["cargo", "build"], vec!["touch", "a b"]]
    );
    assert_eq!(shop.class, Some(Class::Latency));
    assert_eq!(
        shop.ready,
        Some(Ready::Http {
            path: "/readyz".to_owned(),
            port: 8000,
            timeout: Some(Duration::from_mins(1)),
        })
    );
    let hooks = shop.hooks.as_ref().unwrap();
    let before = hooks.pre_deploy.as_ref().unwrap();
    assert_eq!(before.command, ["/order", "migrate", "--all"]);
    assert_eq!(before.timeout, Duration::from_mins(1));
    assert_eq!(before.environment["STEP"].as_deref(), Some("1"));
    let after = hooks.post_deploy.as_ref().unwrap();
    assert_eq!(after.timeout, Duration::from_mins(5));
    assert_eq!((&hooks.on_rollback, &hooks.service), (&None, &None));
    let whole = stack.shop.hooks.as_ref().unwrap();
    assert_eq!(whole.service.as_deref(), Some("order"));
    let back = whole.on_rollback.as_ref().unwrap();
    assert_eq!(back.command, ["/order", "undo"]);
    let slo = shop.slo.as_ref().unwrap();
    assert_eq!(slo.latency_p95, Some(Duration::from_millis(50)));
    assert_eq!(slo.error_rate, Some(Ratio(1000)));
    let autoscale = shop.autoscale.as_ref().unwrap();
    assert_eq!((autoscale.min, autoscale.max), (Some(2), Some(10)));
    assert_eq!(autoscale.schedules[0].length, Duration::from_hours(2));
    assert_eq!(
        order.route_of(&order.ports[0]).unwrap().path.as_deref(),
        Some("/api/orders")
    );
    assert_eq!(
        order.route_of(&order.ports[1]).unwrap().host.as_deref(),
        Some("shop.local")
    );
    assert!(order.is_http(&order.ports[0]) && order.is_http(&order.ports[1]));
    assert_eq!(order.restart, Some(Restart::OnFailure(3)));
    assert_eq!(order.depends_on["db"].condition, Condition::ServiceHealthy);
    let reserved = &order.deploy.resources.reservations;
    assert_eq!(reserved.cpus, Some(NanoCpus(250_000_000)));
    assert_eq!(reserved.memory, Some(64 << 20));
    let update = order.deploy.update_config.as_ref().unwrap();
    assert_eq!(update.order, Some(UpdateOrder::StartFirst));

    let db = &stack.services["db"];
    assert_eq!(db.deploy.resources.limits.memory, Some(1 << 30));
    assert_eq!(
        db.healthcheck.as_ref().unwrap().test,
        HealthTest::Command(vec!["pg_isready".to_owned()])
    );
    assert_eq!(db.secrets[0].target, "/run/secrets/password");
    assert_eq!(db.configs[0].mode, Some(0o440));
    assert_eq!(db.shop.as_ref().unwrap().gateway, Some(false));
    assert!(db.volumes[1].read_only);
    assert!(
        matches!(&db.volumes[1].source, MountSource::Bind { path, .. } if *path == folder.path.join("conf"))
    );
    assert!(matches!(
        db.volumes[2].source,
        MountSource::Tmpfs {
            size: Some(1_048_576),
            ..
        }
    ));
    assert!(matches!(
        &stack.secrets["password"].source,
        FileSource::Environment { value: Some(value), .. } if value == "s3cret"
    ));
    assert!(stack.services["old"].depends_on.contains_key("db"));

    let access =
        |service: &str, volume: &str| stack.volume_access(&stack.services[service], volume);
    assert_eq!(access("order", "cache"), VolumeAccess::Single);
    assert_eq!(access("order", "other"), VolumeAccess::Shared);
    assert_eq!(access("db", "other"), VolumeAccess::Single);
    assert_eq!(access("old", "other"), VolumeAccess::Single);
}

#[test]
fn the_value_of_a_secret_is_not_serialized() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "services: {a: {image: \"a:1\", secrets: [token]}}\nsecrets: {token: {environment: TOKEN}}\n",
    )]);
    let loaded = loaded(&folder.with(&[("TOKEN", "s3cret")]));
    let json = serde_json::to_string(&loaded.stack).unwrap();
    assert!(!json.contains("s3cret"), "{json}");
    assert!(!loaded.document.to_json().contains("s3cret"));
}

#[test]
fn moving_a_line_does_not_change_the_serialized_stack() {
    let text = "services: {a: {image: \"a:1\", ports: [\"80:80\"], x-shop: {ready: {tcp: 80}}}}\n";
    let one = Folder::new(&[("compose.yaml", text)]);
    let other = Folder::new(&[("compose.yaml", &format!("# moved\n\n{text}"))]);
    let json = |folder: &Folder| {
        let mut stack = loaded(&folder.request()).stack;
        stack.working_dir = PathBuf::new();
        stack.files.clear();
        serde_json::to_string(&stack).unwrap()
    };
    assert_eq!(json(&one), json(&other));
}

#[test]
fn the_printed_document_loads_to_the_same_document() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "name: shop
services:
  a:
    image: a:1
    command: echo \"$$HOME\" no
    environment: {A: \"no\", B: 1.50, C: \"$$x\"}
    ports: [\"8000-8001:80-81\", \"53/udp\"]
    volumes: [\"./a:/a\", \"data:/data:ro\"]
    healthcheck: {test: curl x, interval: 90s}
    deploy: {resources: {limits: {cpus: \"0.1\", memory: 64m}}}
    extra_hosts: [\"db=10.0.0.1\"]
    stop_grace_period: 1m30s
volumes: {data: {}}
x-note: {a: [1, 2.5, null]}
",
    )]);
    let first = loaded(&folder.request()).document;
    for (name, text) in [
        ("again.json", first.to_json()),
        ("again.yaml", first.to_yaml()),
    ] {
        fs::write(folder.path.join(name), text).unwrap();
        let again = LoadRequest {
            files: vec![name.into()],
            ..folder.request()
        };
        assert_eq!(loaded(&again).document.to_json(), first.to_json(), "{name}");
    }
}

#[test]
fn the_lists_of_config() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "services:
  b: {build: ., profiles: [p]}
  a: {image: \"a:${TAG:-1}\", environment: [\"X=${X?no x}\"], volumes: [\"data:/d\"]}
volumes: {data: {}}
",
    )]);
    let request = LoadRequest {
        profiles: vec!["p".to_owned()],
        ..folder.with(&[("X", "1")])
    };
    let document = loaded(&request).document;
    assert_eq!(document.services(), ["a", "b"]);
    assert_eq!(document.volumes(), ["data"]);
    assert_eq!(document.networks(), ["default"]);
    assert_eq!(document.images()["b"], "shop-b");
    let variables: Vec<(&str, bool, Option<&str>)> = document
        .variables()
        .iter()
        .map(|found| {
            (
                found.name.as_str(),
                found.required,
                found.default.as_deref(),
            )
        })
        .collect();
    assert_eq!(variables, [("TAG", false, Some("1")), ("X", true, None)]);
    assert_eq!(document.environment()["COMPOSE_PROJECT_NAME"], "shop");
    let raw = LoadRequest {
        raw: true,
        ..folder.request()
    };
    let raw = load(&raw).unwrap().document.to_json();
    assert!(raw.contains("a:${TAG:-1}"), "{raw}");
}

#[test]
fn changed_values_change_the_hash_and_replicas_do_not() {
    let hash = |keys: &str| {
        let folder = Folder::new(&[(
            "compose.yaml",
            &format!("name: s\nservices: {{a: {{image: \"a:1\", {keys}}}}}\n"),
        )]);
        loaded(&folder.request()).document.hash("a").unwrap()
    };
    assert_ne!(hash("user: a"), hash("user: b"));
    assert_eq!(hash("deploy: {replicas: 1}"), hash("deploy: {replicas: 2}"));
}

/// Real keys with values of every kind, right and wrong.
fn any_service() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "image",
        "build",
        "command",
        "entrypoint",
        "environment",
        "env_file",
        "ports",
        "expose",
        "volumes",
        "networks",
        "depends_on",
        "healthcheck",
        "deploy",
        "restart",
        "labels",
        "user",
        "tmpfs",
        "cap_drop",
        "stop_grace_period",
        "extra_hosts",
        "init",
        "profiles",
        "secrets",
        "configs",
        "ulimits",
        "devices",
        "logging",
        "scale",
        "mem_limit",
        "cpus",
        "network_mode",
        "x-shop",
        "extends",
        "gpus",
        "develop",
        "pull_policy",
        "blkio_config",
        "dns",
        "links",
        "container_name",
        "nonsense",
    ]);
    let values = prop::sample::select(vec![
        "x",
        "\"\"",
        "null",
        "1",
        "-1",
        "1.5",
        "true",
        "no",
        "[]",
        "{}",
        "[a, b]",
        "[a, a]",
        "{a: b}",
        "{a: null}",
        "{a: {b: c}}",
        "[{a: b}]",
        "[[a]]",
        "\"8080:80\"",
        "[\"1-2:3-4\"]",
        "[80, \"a:b\"]",
        "[{target: 1, published: 2}]",
        "[{type: bind}]",
        "[\"a:b:c:d\"]",
        "{context: .}",
        "service:a",
        "{resources: {limits: {cpus: x}, reservations: {devices: [{count: all}]}}}",
        "2026-11-11",
        "{test: [CMD], interval: 1s}",
        "{condition: x}",
        "{a: {condition: service_started}}",
        "${A",
        "${A:-b}",
        "!reset null",
        "!override [x]",
        "\"a b 'c\"",
        "{ready: {http: /, port: 1}, route: {}}",
        "{service: a}",
        "{file: /, service: a}",
        "[{path: /none}]",
        "[{source: a, mode: 0440}]",
        "{nofile: 1, nproc: {soft: 1}}",
        "{driver: a, options: {b: 1}}",
        "💥",
    ]);
    prop::collection::btree_map(keys, values, 0..6).prop_map(|keys| {
        let keys: Vec<String> = keys
            .iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        format!("{{{}}}", keys.join(", "))
    })
}

proptest! {
    #[test]
    fn no_stack_makes_the_loader_panic(a in any_service(), b in any_service(), over in any_service()) {
        let folder = Folder::new(&[("over.yaml", &format!("services: {{a: {over}}}\n"))]);
        let request = LoadRequest {
            files: vec!["-".into(), "over.yaml".into()],
            stdin: Some(format!("services: {{a: {a}, b: {b}}}\n")),
            ..folder.request()
        };
        match load(&request) {
            Ok(loaded) => {
                prop_assert!(loaded.document.to_json().contains("services"));
                prop_assert!(loaded.document.hash("a").is_some() || !loaded.stack.services.contains_key("a"));
            }
            Err(problems) => {
                prop_assert!(problems.errors().count() > 0);
                for problem in problems.errors() {
                    prop_assert!(!problem.place().file.is_empty(), "no place: {problem}");
                }
            }
        }
    }
}
