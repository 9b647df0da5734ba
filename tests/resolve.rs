//! From a stack file to the desired state: defaults, gateways, readiness, files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shopctl::stack::LoadRequest;
use shopctl::stack::Stack;
use shopctl::stack::load;
use shopctl::state::desired::Class;
use shopctl::state::desired::Condition;
use shopctl::state::desired::DemandSource;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ImageSource;
use shopctl::state::desired::OnFailure;
use shopctl::state::desired::ReadyGate;
use shopctl::state::desired::RolloutOrder;
use shopctl::state::resolve;
use shopctl::state::resolve::Inputs;
use shopctl::state::spec::MountSource;
use shopctl::state::spec::NetworkMode;
use shopctl::state::spec::Restart;

fn stack(text: &str) -> Stack {
    let request = LoadRequest {
        files: vec![PathBuf::from("-")],
        stdin: Some(text.to_owned()),
        working_dir: PathBuf::from("/srv/shop"),
        environment: BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]),
        ..LoadRequest::default()
    };
    match load(&request) {
        Ok(loaded) => loaded.stack,
        Err(problems) => panic!("{problems}"),
    }
}

fn desired(text: &str) -> DesiredState {
    resolve::resolve(&stack(text), &Inputs::default())
        .expect("resolves")
        .desired
}

#[test]
fn the_article_that_the_project_started_from() {
    let text = "
version: '3'
services:
  order_service:
    build: .
    ports:
      - \"8000:8000\"
  goods_service:
    build: .
    ports:
      - \"8001:8001\"
";
    let stack = stack(text);
    let inputs = Inputs {
        tags: BTreeMap::from([(
            "order_service".to_owned(),
            "shop-order_service:3f9a1c0b2d4e".to_owned(),
        )]),
        ..Inputs::default()
    };
    let desired = resolve::resolve(&stack, &inputs).expect("resolves").desired;
    let ids: Vec<&str> = desired.ports.iter().map(|port| port.id.as_str()).collect();
    assert_eq!(ids, ["*:8000/tcp", "*:8001/tcp"]);
    assert!(
        desired.ports.iter().all(|port| !port.http),
        "nothing says HTTP"
    );
    let order = &desired.services["order_service"];
    assert_eq!(order.replicas, 1);
    assert!(!order.replicas_declared);
    assert!(order.container.ports.is_empty(), "the gateway has them");
    assert_eq!(order.container.image, "shop-order_service:3f9a1c0b2d4e");
    assert_eq!(
        desired.services["goods_service"].image,
        ImageSource::Build { tag: None }
    );
    let NetworkMode::Networks(networks) = &order.container.network else {
        panic!("joins the default network");
    };
    assert_eq!(networks["default"].aliases, ["order_service"]);
}

#[test]
fn ports_that_the_gateway_cannot_have_stay_with_the_container() {
    let desired = desired(
        "
services:
  dns:
    image: dns:1
    ports:
      - '53:53/udp'
      - { target: 9000, published: '9000', mode: host }
      - '127.0.0.1:8080:80'
  plain:
    image: plain:1
    ports: ['81:80']
    x-shop: { gateway: false }
  agent:
    image: agent:1
    network_mode: host
",
    );
    let own = |name: &str| -> Vec<String> {
        let ports = desired.services[name].container.ports.iter();
        ports
            .map(|port| {
                format!(
                    "{:?}:{}/{}",
                    port.host_port, port.container_port, port.protocol
                )
            })
            .collect()
    };
    assert_eq!(own("dns"), ["Some(53):53/udp", "Some(9000):9000/tcp"]);
    assert_eq!(own("plain"), ["Some(81):80/tcp"]);
    let ids: Vec<&str> = desired.ports.iter().map(|port| port.id.as_str()).collect();
    assert_eq!(ids, ["127.0.0.1:8080/tcp"]);
    assert_eq!(
        desired.services["agent"].container.network,
        NetworkMode::Host
    );
}

#[test]
fn routes_share_a_port_most_specific_first() {
    let desired = desired(
        "
services:
  web:
    image: web:1
    ports: ['80:3000']
    x-shop: { route: { path: / } }
  api:
    image: api:1
    ports: ['80:8000']
    x-shop: { route: { path: /api } }
  admin:
    image: admin:1
    ports: ['80:9000']
    x-shop: { route: { host: admin.local } }
",
    );
    assert_eq!(desired.ports.len(), 1);
    let port = &desired.ports[0];
    assert!(port.http);
    let services: Vec<&str> = port
        .routes
        .iter()
        .map(|route| route.service.as_str())
        .collect();
    assert_eq!(services, ["admin", "api", "web"]);
}

#[test]
fn gates_follow_from_what_the_file_says() {
    let desired = desired(
        "
services:
  probed:
    image: a:1
    x-shop: { ready: { http: /readyz, port: 8000 } }
  checked:
    image: b:1
    healthcheck: { test: [CMD, /check], interval: 2s, timeout: 1s, retries: 40 }
  disabled:
    image: c:1
    healthcheck: { disable: true }
  migrate:
    image: d:1
    restart: always
  plain:
    image: e:1
    restart: unless-stopped
    depends_on:
      migrate: { condition: service_completed_successfully }
      checked: { condition: service_healthy, restart: true }
      probed: { condition: service_started, required: false }
",
    );
    let ready = |name: &str| &desired.services[name].ready;
    assert!(matches!(
        ready("probed"),
        ReadyGate::Probe { port: 8000, http: Some(path), .. } if path == "/readyz"
    ));
    assert_eq!(
        *ready("checked"),
        ReadyGate::Healthy {
            deadline_ms: 3000 * 41,
            interval_ms: 2000,
        }
    );
    assert_eq!(*ready("disabled"), ReadyGate::Running);
    assert_eq!(*ready("plain"), ReadyGate::Running);
    assert!(matches!(ready("migrate"), ReadyGate::Completed { .. }));
    let migrate = &desired.services["migrate"];
    assert!(migrate.one_off);
    assert_eq!(migrate.container.live.restart, Restart::No);
    let needs: Vec<_> = desired.services["plain"]
        .needs
        .iter()
        .map(|need| {
            (
                need.service.as_str(),
                need.condition,
                need.required,
                need.restart,
            )
        })
        .collect();
    assert_eq!(
        needs,
        [
            ("checked", Condition::Healthy, true, true),
            ("migrate", Condition::CompletedSuccessfully, true, false),
            ("probed", Condition::Started, false, false),
        ]
    );
}

#[test]
fn demand_comes_from_reservations_then_limits_then_nothing() {
    let desired = desired(
        "
services:
  a:
    image: a:1
    deploy:
      resources:
        reservations: { cpus: '0.25', memory: 64M }
        limits: { cpus: '1', memory: 128M, pids: 50 }
  b:
    image: b:1
    mem_limit: 32m
  c:
    image: c:1
",
    );
    let of = |name: &str| {
        let demand = &desired.services[name].demand;
        (
            demand.cpu_milli,
            demand.cpu_source,
            demand.memory,
            demand.memory_source,
        )
    };
    assert_eq!(
        of("a"),
        (
            250,
            DemandSource::Reservation,
            64 << 20,
            DemandSource::Reservation
        )
    );
    assert_eq!(
        of("b"),
        (0, DemandSource::Assumed, 32 << 20, DemandSource::Limit)
    );
    assert_eq!(
        of("c"),
        (0, DemandSource::Assumed, 0, DemandSource::Assumed)
    );
    let live = &desired.services["a"].container.live;
    assert_eq!(live.nano_cpus, Some(1_000_000_000));
    assert_eq!(live.memory, Some(128 << 20));
    assert_eq!(live.pids, Some(50));
    assert_eq!(desired.services["c"].container.live.memory, None);
}

#[test]
fn rollouts_are_start_first_unless_the_file_says_otherwise() {
    let desired = desired(
        "
services:
  a: { image: a:1 }
  b:
    image: b:1
    deploy: { update_config: { order: stop-first, parallelism: 0, delay: 3s, monitor: 1s } }
",
    );
    let a = &desired.services["a"].rollout;
    assert_eq!(
        (a.order, a.parallelism, a.monitor_ms),
        (RolloutOrder::StartFirst, 1, 5000)
    );
    let b = &desired.services["b"].rollout;
    assert_eq!(
        (b.order, b.parallelism, b.delay_ms, b.monitor_ms),
        (RolloutOrder::StopFirst, 0, 3000, 1000)
    );
}

#[test]
fn what_a_rollout_bears_and_what_follows_reach_the_plan() {
    let of = |words: &str| {
        let text = format!(
            "services: {{ a: {{ image: 'a:1', deploy: {{ update_config: {{ {words} }} }} }} }}"
        );
        desired(&text).services["a"].rollout.clone()
    };
    let tolerant = of("max_failure_ratio: 0.25, failure_action: continue");
    assert_eq!(tolerant.on_failure, OnFailure::Continue);
    let borne = [1, 3, 4, 7, 8].map(|replicas| tolerant.borne_of(replicas));
    assert_eq!(borne, [0, 0, 1, 1, 2]);
    let plain = of("failure_action: pause");
    assert_eq!(
        (plain.on_failure, plain.borne_of(100)),
        (OnFailure::Pause, 0)
    );
}

#[test]
fn volumes_bear_one_writer_unless_the_file_says_they_are_shared() {
    let desired = desired(
        "
services:
  plain: { image: a:1, volumes: ['data:/data', 'read:/read:ro'] }
  shop: { image: b:1, volumes: ['data:/data'], x-shop: { class: latency } }
  db: { image: c:1, volumes: ['data:/data'], x-shop: { class: stateful } }
  shared: { image: d:1, volumes: ['data:/data'], x-shop: { class: stateful, volumes: { data: { access: shared } } } }
volumes: { data: {}, read: {} }
",
    );
    let single = |name: &str| desired.services[name].exclusive_volumes.join(",");
    assert_eq!(single("plain"), "data");
    assert_eq!(single("shop"), "");
    assert_eq!(single("db"), "data");
    assert_eq!(single("shared"), "");
    assert_eq!(desired.services["db"].class, Class::Stateful);
}

#[test]
fn secrets_become_files_and_never_appear_in_a_spec() {
    let text = "
services:
  web:
    image: web:1
    secrets: [token, { source: key, target: /etc/web/key, mode: 0400, uid: '65532' }]
    configs: [{ source: conf, target: /etc/web.conf }]
secrets:
  token: { environment: TOKEN }
  key: { file: /keys/web.key }
configs:
  conf: { content: 'listen 80' }
";
    let stack = stack(text);
    let key = PathBuf::from("/keys/web.key");
    let files: Vec<PathBuf> = resolve::files(&stack).into_iter().collect();
    assert_eq!(files, std::slice::from_ref(&key));
    let problems = resolve::resolve(&stack, &Inputs::default()).expect_err("no key");
    assert!(problems.to_string().contains("/keys/web.key"), "{problems}");
    let inputs = Inputs {
        contents: BTreeMap::from([(key, b"k3y".to_vec())]),
        ..Inputs::default()
    };
    let desired = resolve::resolve(&stack, &inputs).expect("resolves").desired;
    let mounts: Vec<(String, String)> = desired.services["web"]
        .container
        .mounts
        .iter()
        .map(|mount| match &mount.source {
            MountSource::Files { set, file } => (
                mount.target.clone(),
                format!("{set} {}", file.clone().unwrap_or_default()),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("/etc/web.conf", "web-config-conf web.conf"),
        ("/etc/web/key", "web-secret-key key"),
        ("/run/secrets", "web-secrets "),
    ];
    let expected = expected.map(|(target, set)| (target.to_owned(), set.to_owned()));
    assert_eq!(mounts, expected);
    let file = &desired.files["web-secret-key"].files["key"];
    assert_eq!((file.uid, file.mode), (65532, 0o400));
    assert_eq!(file.content, b"k3y");
    let shown = format!(
        "{desired:?}{}",
        serde_json::to_string(&desired).expect("JSON")
    );
    assert!(
        !shown.contains("s3cret") && !shown.contains("k3y"),
        "{shown}"
    );
}

#[test]
fn what_has_no_effect_is_named_with_the_reason_unless_it_is_silenced() {
    let stack = stack(
        "
services:
  web:
    image: web:1
    memswap_limit: -1
    mac_address: 02:42:ac:11:65:43
    network_mode: host
    deploy:
      mode: global
      replicas: 3
      update_config: { max_failure_ratio: 0.5 }
      rollback_config: { max_failure_ratio: 0.5, failure_action: continue }
    x-shop: { rollout: { strategy: blue-green } }
",
    );
    let resolved = resolve::resolve(&stack, &Inputs::default()).expect("resolves");
    let messages: Vec<&str> = resolved
        .warnings
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "services.web.deploy.replicas has no effect: with this deploy.mode there is one replica on each node, and a Docker Engine is one",
            "services.web.deploy.update_config.max_failure_ratio has no effect: a stage of x-shop.rollout is judged as a whole, by its verdict",
            "services.web.deploy.rollback_config.max_failure_ratio has no effect: a way back must not end half",
            "services.web.deploy.rollback_config.failure_action has no effect: a way back that fails ends there, with exit code 51",
            "services.web.memswap_limit has no effect: without a limit of its memory the service may use all of the swap too",
            "services.web.mac_address has no effect: its network_mode gives it no interface of its own",
        ]
    );
    assert!(
        resolved
            .warnings
            .iter()
            .all(|warning| warning.place().line > 0)
    );
    assert_eq!(resolved.desired.services["web"].replicas, 1);
    let mut silent = stack;
    silent.shop.lint_silence = vec!["no-effect".to_owned()];
    let resolved = resolve::resolve(&silent, &Inputs::default()).expect("resolves");
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
}

#[test]
fn resources_and_addresses_are_those_of_the_file() {
    let desired = desired(
        "
services:
  web:
    image: web:1
    mem_limit: 64m
    memswap_limit: 128m
    cpu_rt_period: 1000
    annotations: { team: a }
    mac_address: 02:42:ac:11:65:43
    gpus: all
    pull_policy: refresh
    pull_refresh_after: 12h
    volumes_from: [db, 'db:ro', 'container:far:rw']
    volumes:
      - { type: volume, source: data, target: /data, volume: { subpath: a/b } }
      - { type: image, source: 'data:1', target: /image, image: { subpath: c } }
      - { type: bind, source: /srv, target: /srv, bind: { selinux: Z, recursive: readonly } }
    blkio_config:
      weight: 300
      weight_device: [{ path: /dev/sda, weight: 400 }]
      device_read_bps: [{ path: /dev/sdb, rate: 12mb }]
      device_write_iops: [{ path: /dev/sdb, rate: 30 }]
    networks:
      back:
        priority: 5
        gw_priority: 7
        mac_address: 02:42:ac:11:65:44
        link_local_ips: [169.254.8.8]
        interface_name: shop0
        driver_opts: { a: b }
    deploy:
      rollback_config: { parallelism: 0, order: stop-first, delay: 2s, monitor: 1s }
      resources: { reservations: { devices: [{ capabilities: [tpu], device_ids: ['0'], driver: d, options: { x: y } }] } }
  db: { image: 'db:1' }
volumes: { data: {} }
networks:
  back:
    enable_ipv4: false
    enable_ipv6: true
    ipam:
      driver: own
      options: { a: b }
      config: [{ subnet: 10.1.0.0/24, aux_addresses: { router: 10.1.0.254 } }]
",
    );
    let web = &desired.services["web"];
    insta::assert_yaml_snapshot!((
        &web.container,
        &web.image,
        &web.rollout,
        &web.needs,
        &desired.networks
    ));
}

#[test]
fn swap_holds_memory_too() {
    let refused = |limits: &str| {
        let text = format!("services: {{ web: {{ image: 'web:1', {limits} }} }}");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("compose.yaml"), text).expect("written");
        let request = LoadRequest {
            working_dir: folder.path().to_owned(),
            ..LoadRequest::default()
        };
        load(&request)
            .err()
            .map(|problems| problems.list[0].message.clone())
    };
    let alone = refused("memswap_limit: 1g").expect("refused");
    assert!(alone.contains("the memory has no limit"), "{alone}");
    let less = refused("mem_limit: 2g, memswap_limit: 1g").expect("refused");
    assert!(less.contains("as much as the memory limit"), "{less}");
    for fine in [
        "mem_limit: 1g, memswap_limit: 1g",
        "memswap_limit: 0",
        "memswap_limit: -1",
    ] {
        assert_eq!(refused(fine), None, "{fine}");
    }
}

#[test]
fn secrets_are_kept_in_memory_where_that_is_asked_for_and_configs_are_not() {
    let sets = |store: &str| -> Vec<(String, bool)> {
        let text = format!(
            "
services: {{ web: {{ image: 'web:1', secrets: [token, {{ source: key, target: /key }}], configs: [settings] }} }}
secrets: {{ token: {{ environment: TOKEN }}, key: {{ environment: TOKEN }} }}
configs: {{ settings: {{ content: c }} }}
x-shop: {{ secrets: {store} }}
"
        );
        let resolved = resolve::resolve(&stack(&text), &Inputs::default()).expect("resolves");
        let files = resolved.desired.files.into_iter();
        files.map(|(name, set)| (name, set.memory)).collect()
    };
    let expected = |memory| {
        [
            ("web-config-settings", false),
            ("web-secret-key", memory),
            ("web-secrets", memory),
        ]
        .map(|(name, memory)| (name.to_owned(), memory))
    };
    assert_eq!(sets("memory"), expected(true));
    assert_eq!(sets("volume"), expected(false));
}

#[test]
fn a_ratio_that_a_canary_does_not_heed_is_named() {
    let stack = stack(
        "
services:
  web:
    image: web:1
    ports: ['8000:8000']
    deploy: { update_config: { max_failure_ratio: 0.5 } }
    x-shop: { rollout: { strategy: canary }, route: { path: / } }
",
    );
    let resolved = resolve::resolve(&stack, &Inputs::default()).expect("resolves");
    let named = |one: &shopctl::stack::Problem| one.message.contains("max_failure_ratio");
    assert!(
        resolved.warnings.iter().any(named),
        "{:?}",
        resolved.warnings
    );
}

#[test]
fn the_same_stack_resolves_to_the_same_state() {
    let text = "
services:
  web: { image: web:1, environment: { B: '2', A: '1' }, networks: { default: { aliases: [www, web] } } }
";
    assert_eq!(desired(text), desired(text));
}

#[test]
fn hooks_of_a_service_and_of_the_stack() {
    let desired = desired(
        "
services:
  order:
    image: order:1
    x-shop:
      hooks:
        pre_deploy: { command: /app migrate --all, timeout: 90s, environment: { STEP: 1, DEBUG: null } }
        on_rollback: { command: [/app, undo] }
x-shop:
  hooks:
    service: order
    post_deploy: { command: [/app, tell, all of us] }
",
    );
    insta::assert_yaml_snapshot!((&desired.services["order"].hooks, &desired.hooks));
}

#[test]
fn a_service_is_called_through_the_gateway_where_all_its_ports_are_http_and_somebody_can_call() {
    let web = "ports: [{ target: 8000, published: '8000', app_protocol: http }]";
    let inner = |web: &str, rest: &str| -> Vec<u16> {
        let text = format!(
            "
services:
  web:
    image: web:1
    {web}
  worker:
    image: worker:1
    {rest}
networks: {{ back: {{}} }}
"
        );
        let services = desired(&text).services;
        assert!(services["worker"].inner.is_empty(), "it declares nothing");
        services["web"].inner.iter().copied().collect()
    };
    assert_eq!(inner(web, ""), [8000]);
    let ready = "x-shop: { ready: { http: /readyz, port: 9090 } }";
    assert_eq!(inner(&format!("{web}\n    {ready}"), ""), [8000, 9090]);
    let exposed = "expose: ['9090']\n    x-shop: { ready: { http: /, port: 9090 } }";
    assert_eq!(inner(exposed, ""), [9090]);
    let routed = "x-shop: { route: { port: 7000 } }";
    assert_eq!(inner(routed, ""), [7000]);
    for (why, web, rest) in [
        ("nothing is declared", "ports: ['8000:8000']", ""),
        ("a probe alone names no port for requests", ready, ""),
        (
            "another port is not HTTP",
            &format!("{web}\n    expose: ['5432']"),
            "",
        ),
        (
            "the file says no",
            &format!("{web}\n    x-shop: {{ route: {{ internal: false }} }}"),
            "",
        ),
        (
            "no gateway at all",
            &format!("{web}\n    x-shop: {{ gateway: false }}"),
            "",
        ),
        (
            "a name of its own",
            &format!("{web}\n    container_name: web"),
            "",
        ),
        ("nobody shares a network", web, "networks: [back]"),
        (
            "others are in its network",
            web,
            "network_mode: 'service:web'",
        ),
        (
            "the name is another's too",
            web,
            "networks: { default: { aliases: [web] } }",
        ),
    ] {
        assert!(inner(web, rest).is_empty(), "{why}");
    }
}

/// The addresses that a file of `stacks/` publishes on.
fn published_on(files: &[&str]) -> Vec<Option<String>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stacks");
    let request = LoadRequest {
        files: files.iter().map(|file| folder.join(file)).collect(),
        working_dir: folder,
        ..LoadRequest::default()
    };
    let stack = match load(&request) {
        Ok(loaded) => loaded.stack,
        Err(problems) => panic!("{problems}"),
    };
    let ports = stack.services.values().flat_map(|service| &service.ports);
    ports
        .map(|port| port.host_ip.map(|address| address.to_string()))
        .collect()
}

#[test]
fn the_demo_is_closed_until_the_override_opens_it() {
    let closed = published_on(&["shop.yaml"]);
    assert_eq!(
        closed,
        [Some("127.0.0.1".to_owned()), Some("127.0.0.1".to_owned())]
    );
    assert_eq!(
        published_on(&["shop.yaml", "shop.public.yaml"]),
        [None, None]
    );
}
