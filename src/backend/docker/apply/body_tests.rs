//! Golden create bodies: what the engine is sent for one instance.

use crate::backend::docker::apply::endpoints::container_mac;
use crate::backend::docker::apply::endpoints::endpoints;
use crate::state::devices::Blkio;
use crate::state::spec::Endpoint;
use crate::state::spec::Logging;
use crate::state::spec::NetworkMode;

use super::*;

fn instance() -> InstanceSpec {
    InstanceSpec {
        name: "shop-order-1-3f9a1c".to_owned(),
        service: "order".to_owned(),
        slot: 1,
        revision: "3f9a1c".to_owned(),
        alias: "i-0123456789ab".to_owned(),
        image_id: None,
        spec: ContainerSpec {
            image: "shop-order:1".to_owned(),
            ..ContainerSpec::default()
        },
        networks: text_map(&[("default", "shop_default"), ("back", "shop_back")]),
        volumes: text_map(&[("data", "shop_data")]),
        files: text_map(&[("secrets", "shop-files-secrets-1")]),
        join: None,
        volumes_from: Vec::new(),
        labels: text_map(&[(names::STACK, "shop")]),
    }
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn around(minor: u32) -> Surroundings {
    Surroundings {
        run: "run-1".to_owned(),
        minor,
        mountpoints: BTreeMap::new(),
    }
}

/// Sorted, since the engine's maps have no order.
fn golden(body: &ContainerCreateBody) -> serde_json::Value {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let map: BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
                map.into_iter().collect()
            }
            serde_json::Value::Array(list) => list.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    sorted(serde_json::to_value(body).unwrap())
}

fn mount(target: &str, source: MountSource) -> Mount {
    Mount {
        target: target.to_owned(),
        source,
        read_only: false,
    }
}

#[test]
fn the_least_instance() {
    insta::assert_json_snapshot!(golden(&create_body(&instance(), &around(41))));
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "as many as the specification has keys"
)]
fn everything_of_the_specification() {
    let mut instance = instance();
    instance.spec = ContainerSpec {
        image: "shop-order:1".to_owned(),
        command: Some(texts(&["serve"])),
        entrypoint: Some(texts(&["/order"])),
        environment: [
            ("A".to_owned(), Some("1".to_owned())),
            ("GONE".to_owned(), None),
        ]
        .into(),
        working_dir: Some("/srv".to_owned()),
        user: Some("65532:65532".to_owned()),
        labels: text_map(&[("team", "a"), (names::STACK, "overridden")]),
        hostname: Some("order".to_owned()),
        domainname: Some("shop.local".to_owned()),
        init: Some(true),
        tty: true,
        stdin_open: true,
        read_only: true,
        privileged: true,
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["ALL"]),
        security_opt: texts(&["no-new-privileges:true"]),
        group_add: texts(&["audio"]),
        devices: texts(&["/dev/a", "/dev/b:/dev/c:r"]),
        shm_size: Some(1024),
        ulimits: [("nofile".to_owned(), (10, 20))].into(),
        sysctls: text_map(&[("net.core.somaxconn", "1024")]),
        extra_hosts: texts(&["db:10.0.0.1"]),
        dns: texts(&["10.0.0.2"]),
        dns_search: texts(&["local"]),
        dns_opt: texts(&["ndots:1"]),
        network: NetworkMode::Networks(BTreeMap::from([(
            "default".to_owned(),
            Endpoint {
                aliases: texts(&["order"]),
                ipv4: Some("10.1.0.5".to_owned()),
                ..Endpoint::default()
            },
        )])),
        pid: Some("host".to_owned()),
        ipc: Some("shareable".to_owned()),
        userns_mode: Some("host".to_owned()),
        uts: Some("host".to_owned()),
        cgroup: Some("private".to_owned()),
        cgroup_parent: Some("/shop".to_owned()),
        device_cgroup_rules: texts(&["c 1:3 mr"]),
        device_requests: vec![devices::DeviceRequest {
            capabilities: texts(&["gpu"]),
            driver: Some("nvidia".to_owned()),
            count: Some(2),
            ids: Vec::new(),
            options: text_map(&[("a", "b")]),
        }],
        blkio: Blkio {
            weight: Some(300),
            weight_device: vec![("/dev/a".to_owned(), 400)],
            read_bps: vec![("/dev/a".to_owned(), 1)],
            write_bps: vec![("/dev/a".to_owned(), 2)],
            read_iops: vec![("/dev/a".to_owned(), 3)],
            write_iops: vec![("/dev/a".to_owned(), 4)],
        },
        annotations: text_map(&[("team", "a")]),
        mac_address: None,
        volumes_from: Vec::new(),
        runtime: Some("runc".to_owned()),
        cpu_period: Some(100_000),
        cpu_quota: Some(50_000),
        cpu_rt_period: Some(1000),
        cpu_rt_runtime: Some(500),
        cpuset: Some("0-1".to_owned()),
        mem_swappiness: Some(10),
        oom_kill_disable: true,
        storage_opt: text_map(&[("size", "1G")]),
        platform: None,
        mounts: Vec::new(),
        ports: vec![HostPort {
            host_ip: "127.0.0.1".to_owned(),
            host_port: Some(53),
            container_port: 5353,
            protocol: "udp".to_owned(),
        }],
        expose: ["9000/tcp".to_owned()].into(),
        healthcheck: Some(Healthcheck {
            test: texts(&["CMD", "/order", "healthcheck"]),
            interval_ns: Some(1_000_000_000),
            timeout_ns: Some(2_000_000_000),
            start_period_ns: Some(3_000_000_000),
            start_interval_ns: Some(4_000_000_000),
            retries: Some(5),
        }),
        stop_signal: Some("SIGINT".to_owned()),
        stop_grace_secs: Some(30),
        logging: Some(Logging {
            driver: Some("json-file".to_owned()),
            options: text_map(&[("max-size", "1m")]),
        }),
        pre_start: Vec::new(),
        oom_score_adj: Some(500),
        live: LiveSpec {
            cpu_shares: Some(256),
            nano_cpus: Some(500_000_000),
            memory: Some(1 << 26),
            memory_swap: Some(-1),
            memory_reservation: Some(1 << 25),
            pids: Some(100),
            restart: Restart::OnFailure(3),
        },
    };
    instance.volumes_from = texts(&["shop-db-1-aaaaaa:ro"]);
    insta::assert_json_snapshot!(golden(&create_body(&instance, &around(41))));
}

#[test]
fn annotations_are_sent_to_engines_that_know_them() {
    let mut instance = instance();
    instance.spec.annotations = text_map(&[("team", "a")]);
    let sent = |minor| {
        let host = create_body(&instance, &around(minor)).host_config.unwrap();
        host.annotations.is_some()
    };
    assert_eq!((sent(42), sent(43)), (false, true));
}

#[test]
fn mounts_of_every_kind() {
    let mut instance = instance();
    let bind = |create, propagation: Option<&str>| MountSource::Bind {
        path: "/src".to_owned(),
        create,
        propagation: propagation.map(ToOwned::to_owned),
        selinux: None,
        recursive: None,
    };
    let below = |how: &str, selinux: Option<&str>| MountSource::Bind {
        path: "/src".to_owned(),
        create: true,
        propagation: None,
        selinux: selinux.map(ToOwned::to_owned),
        recursive: Some(how.to_owned()).filter(|how| !how.is_empty()),
    };
    let volume = |nocopy| MountSource::Volume {
        key: "data".to_owned(),
        nocopy,
        subpath: Some("a/b".to_owned()).filter(|_| nocopy),
    };
    let tmpfs = |options: Option<&str>| MountSource::Tmpfs {
        size: Some(64),
        mode: Some(0o1777),
        options: options.map(ToOwned::to_owned),
    };
    instance.spec.mounts = vec![
        Mount {
            read_only: true,
            ..mount("/bind/short", bind(true, Some("rslave")))
        },
        mount("/bind/long", bind(false, Some("rshared"))),
        mount("/bind/labelled", below("", Some("Z"))),
        mount("/bind/alone", below("disabled", None)),
        mount("/bind/below", below("readonly", None)),
        mount(
            "/image",
            MountSource::Image {
                reference: "data:1".to_owned(),
                subpath: Some("a".to_owned()),
            },
        ),
        mount("/volume", volume(false)),
        mount("/volume/nocopy", volume(true)),
        mount("/anonymous", MountSource::Anonymous),
        mount("/tmpfs/long", tmpfs(None)),
        mount("/tmpfs/short", tmpfs(Some("noexec,size=1m"))),
        mount(
            "/run/secrets",
            MountSource::Files {
                set: "secrets".to_owned(),
                file: None,
            },
        ),
    ];
    let of = |minor| golden(&create_body(&instance, &around(minor)))["HostConfig"].take();
    insta::assert_json_snapshot!([of(41), of(49)]);
}

#[test]
fn single_files_are_subpaths_or_binds_by_the_engines_age() {
    let mut instance = instance();
    for file in ["a", "b"] {
        instance.spec.mounts.push(mount(
            &format!("/etc/{file}"),
            MountSource::Files {
                set: "secrets".to_owned(),
                file: Some(file.to_owned()),
            },
        ));
    }
    assert_eq!(
        Surroundings::wanted_mountpoints(41, &instance),
        ["shop-files-secrets-1"; 2]
    );
    assert!(Surroundings::wanted_mountpoints(45, &instance).is_empty());
    let mut old = around(41);
    old.mountpoints = text_map(&[("shop-files-secrets-1", "/volumes/1/_data")]);
    let old = golden(&create_body(&instance, &old));
    let new = golden(&create_body(&instance, &around(45)));
    insta::assert_json_snapshot!([&old["HostConfig"], &new["HostConfig"]]);
}

#[test]
fn network_modes() {
    let mut instance = instance();
    let mut mode = |network| {
        instance.spec.network = network;
        let body = create_body(&instance, &around(41));
        let host = body.host_config.unwrap();
        (host.network_mode.unwrap(), body.networking_config.is_some())
    };
    assert_eq!(mode(NetworkMode::Host), ("host".to_owned(), false));
    assert_eq!(mode(NetworkMode::None), ("none".to_owned(), false));
    let container = NetworkMode::Container("db".to_owned());
    assert_eq!(mode(container), ("container:db".to_owned(), false));
    let both = ["default", "back"].map(|key| (key.to_owned(), Endpoint::default()));
    let networks = NetworkMode::Networks(both.into());
    assert_eq!(mode(networks), ("shop_back".to_owned(), true));
    instance.join = Some("shop-db-1-aaaaaa".to_owned());
    instance.spec.network = NetworkMode::Service("db".to_owned());
    let host = create_body(&instance, &around(41)).host_config.unwrap();
    assert_eq!(host.network_mode.unwrap(), "container:shop-db-1-aaaaaa");
}

#[test]
fn every_network_knows_the_unique_alias() {
    let mut instance = instance();
    let both = ["default", "back"].map(|key| (key.to_owned(), Endpoint::default()));
    instance.spec.network = NetworkMode::Networks(both.into());
    for (name, endpoint) in endpoints(&instance, 41) {
        assert_eq!(endpoint.aliases.unwrap(), ["i-0123456789ab"], "{name}");
    }
}

/// The one with the highest priority comes first, and gives the container its MAC address
/// where the engine knows none of an attachment.
#[test]
fn an_attachment_with_everything_by_the_engines_age() {
    let mut instance = instance();
    let attachment = Endpoint {
        link_local: texts(&["169.254.1.1"]),
        mac_address: Some("02:42:ac:11:00:01".to_owned()),
        driver_opts: text_map(&[("a", "b")]),
        interface: Some("shop0".to_owned()),
        priority: 5,
        gateway_priority: 7,
        ..Endpoint::default()
    };
    let both = [
        ("back".to_owned(), Endpoint::default()),
        ("default".to_owned(), attachment),
    ];
    instance.spec.network = NetworkMode::Networks(both.into());
    instance.spec.mac_address = Some("02:42:ac:11:00:02".to_owned());
    let all = |minor| {
        let mut all = Vec::new();
        for (name, endpoint) in endpoints(&instance, minor) {
            all.push(serde_json::json!({ name: endpoint }));
        }
        all
    };
    let (old, new) = (all(41), all(49));
    insta::assert_json_snapshot!([old, new]);
    assert_eq!(container_mac(&instance, 41), Some("02:42:ac:11:00:01"));
    assert_eq!(container_mac(&instance, 44), None);
}
