//! Keys of the specification that only `docker inspect` can tell of.

use bollard::models::ContainerInspectResponse;
use bollard::models::ThrottleDevice;
use bollard::query_parameters::InspectContainerOptions;
use bollard::query_parameters::InspectNetworkOptions;
use bollard::query_parameters::TagImageOptionsBuilder;
use shopctl::backend::Images as _;
use shopctl::plan::action::Action;
use shopctl::state::devices::Blkio;
use shopctl::state::devices::DeviceRequest;
use shopctl::state::spec::Endpoint;
use shopctl::state::spec::Mount;
use shopctl::state::spec::MountSource;
use shopctl::state::spec::NetworkMode;
use shopctl::state::spec::NetworkSpec;

use crate::world::World;
use crate::world::remove;
use crate::world::start;

fn engine() -> bollard::Docker {
    bollard::Docker::connect_with_unix_defaults().unwrap()
}

async fn inspect(container: &str) -> ContainerInspectResponse {
    engine()
        .inspect_container(container, None::<InspectContainerOptions>)
        .await
        .unwrap()
}

/// A disk of this machine.
fn disk() -> String {
    let listed = std::fs::read_dir("/sys/block").unwrap();
    let names = listed.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| std::path::Path::new("/dev").join(name).exists())
        .collect();
    names.sort_by_key(|name| name.starts_with("loop") || name.starts_with("ram"));
    format!("/dev/{}", names.first().expect("a block device"))
}

#[tokio::test]
#[ignore = "engine"]
async fn resources_of_the_specification_reach_the_container() {
    let world = World::new().await;
    let disk = disk();
    let mut instance = world.instance("order", &[], &["keep"]);
    instance.spec.live.memory = Some(64 << 20);
    instance.spec.live.memory_swap = Some(-1);
    instance.spec.blkio = Blkio {
        read_bps: vec![(disk.clone(), 1 << 20)],
        write_iops: vec![(disk.clone(), 100)],
        ..Blkio::default()
    };
    let name = world.run(instance).await;
    let host = inspect(&name).await.host_config.unwrap();
    let rate = |rate| {
        Some(vec![ThrottleDevice {
            path: Some(disk.clone()),
            rate: Some(rate),
        }])
    };
    assert_eq!(host.blkio_device_read_bps, rate(1 << 20));
    assert_eq!(host.blkio_device_write_iops, rate(100));
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(-1)));
    let found = world.find(&name).await.unwrap();
    assert_eq!(found.live.memory_swap, Some(-1));
    // Back to as much as the memory, on the running container.
    let mut live = found.live;
    live.memory_swap = None;
    let container = name.clone();
    world.apply(Action::UpdateLive { container, live }).await;
    let host = inspect(&name).await.host_config.unwrap();
    assert_eq!(host.memory_swap, Some(64 << 20));
    assert_eq!(world.find(&name).await.unwrap().live.memory_swap, None);
}

/// An engine without the driver makes the container and refuses to start it.
#[tokio::test]
#[ignore = "engine"]
async fn devices_are_asked_for_by_what_they_can_do() {
    let world = World::new().await;
    let mut instance = world.instance("model", &[], &["keep"]);
    instance.spec.device_requests = vec![DeviceRequest {
        capabilities: vec!["gpu".to_owned()],
        count: Some(-1),
        ..DeviceRequest::default()
    }];
    let name = instance.name.clone();
    world.apply(Action::CreateInstance { instance }).await;
    let host = inspect(&name).await.host_config.unwrap();
    let asked = host.device_requests.unwrap();
    assert_eq!(
        (asked[0].count, asked[0].capabilities.clone()),
        (Some(-1), Some(vec![vec!["gpu".to_owned()]]))
    );
    if let Err(error) = world.try_apply(&start(&name)).await {
        assert!(error.to_string().contains("device driver"), "{error}");
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn a_container_joins_its_networks_by_priority_and_with_its_addresses() {
    let world = World::new().await;
    world.network("back").await;
    world.network("front").await;
    let mac = "02:42:ac:11:65:43";
    let mut instance = world.instance("order", &["back", "front"], &["keep"]);
    let front = Endpoint {
        priority: 10,
        mac_address: Some(mac.to_owned()),
        link_local: vec!["169.254.8.8".to_owned()],
        driver_opts: [("com.example.note".to_owned(), "x".to_owned())].into(),
        ..Endpoint::default()
    };
    instance.spec.network = NetworkMode::Networks(
        [
            ("back".to_owned(), Endpoint::default()),
            ("front".to_owned(), front),
        ]
        .into(),
    );
    let name = world.run(instance).await;
    let found = inspect(&name).await;
    let made_with = found.host_config.unwrap().network_mode.unwrap();
    assert_eq!(made_with, world.name("front"));
    let networks = found.network_settings.unwrap().networks.unwrap();
    let front = &networks[&world.name("front")];
    assert_eq!(front.mac_address.as_deref(), Some(mac));
    let local = front.ipam_config.as_ref().unwrap().link_local_ips.as_ref();
    assert_eq!(local.unwrap(), &["169.254.8.8"]);
    let options = front.driver_opts.as_ref().unwrap();
    assert_eq!(options["com.example.note"], "x");
    assert!(networks.contains_key(&world.name("back")));
}

#[tokio::test]
#[ignore = "engine"]
async fn one_mac_address_of_a_service_is_that_of_its_network() {
    let world = World::new().await;
    world.network("back").await;
    let mac = "02:42:ac:11:65:44";
    let mut instance = world.instance("order", &["back"], &["keep"]);
    instance.spec.mac_address = Some(mac.to_owned());
    let again = instance.clone();
    let name = world.run(instance).await;
    let networks = inspect(&name).await.network_settings.unwrap().networks;
    let back = networks.unwrap().remove(&world.name("back")).unwrap();
    assert_eq!(back.mac_address.as_deref(), Some(mac));
    // The same call once more finds it done.
    world
        .apply(Action::CreateInstance { instance: again })
        .await;
}

#[tokio::test]
#[ignore = "engine"]
async fn volumes_of_another_container_are_mounted() {
    let world = World::new().await;
    let mut lender = world.instance("data", &[], &["keep"]);
    lender.spec.mounts = vec![Mount {
        target: "/data".to_owned(),
        source: MountSource::Anonymous,
        read_only: false,
    }];
    let lender = world.run(lender).await;
    let mut instance = world.instance("app", &[], &["keep"]);
    instance.volumes_from = vec![format!("{lender}:ro")];
    let name = world.run(instance).await;
    let mount = |found: ContainerInspectResponse| found.mounts.unwrap().remove(0);
    let (lent, found) = (mount(inspect(&lender).await), mount(inspect(&name).await));
    assert_eq!((lent.name, lent.rw), (found.name.clone(), Some(true)));
    assert_eq!(
        (found.destination.as_deref(), found.rw),
        (Some("/data"), Some(false))
    );
    // It outlives the container that it came with, for as long as it is mounted.
    world.apply(remove(&lender)).await;
    let volume = engine().inspect_volume(&found.name.unwrap()).await;
    assert!(volume.is_ok(), "{volume:?}");
}

/// What `pull_policy: daily` goes by.
#[tokio::test]
#[ignore = "engine"]
async fn an_image_knows_since_when_it_has_its_name() {
    let world = World::new().await;
    let helper = &world.context.helper_image;
    let age = async || world.docker.image(helper).await.unwrap().unwrap().age_secs;
    // One that came from a file was given its name by nobody.
    assert_eq!(age().await, None);
    let options = TagImageOptionsBuilder::new()
        .repo(helper.trim_end_matches(":1"))
        .tag("1")
        .build();
    engine().tag_image(helper, Some(options)).await.unwrap();
    let age = age().await;
    assert!(age.is_some_and(|age| age < 60), "{age:?}");
}

#[tokio::test]
#[ignore = "engine"]
async fn addresses_of_a_network_are_kept_free() {
    let world = World::new().await;
    let spec = |subnet: &str, first: &str| NetworkSpec {
        name: world.name("net"),
        subnets: vec![(Some(subnet.to_owned()), None, None)],
        reserved: [(
            subnet.to_owned(),
            [("router".to_owned(), first.to_owned())].into(),
        )]
        .into(),
        ipam_driver: Some("default".to_owned()),
        ..NetworkSpec::default()
    };
    let mut made = Ok(());
    // Another network of this machine may have the subnet.
    for third in 200..220 {
        let spec = spec(
            &format!("10.213.{third}.0/24"),
            &format!("10.213.{third}.2"),
        );
        let key = "net".to_owned();
        made = world.try_apply(&Action::CreateNetwork { key, spec }).await;
        if made.is_ok() {
            break;
        }
    }
    made.unwrap();
    let network = engine()
        .inspect_network(&world.name("net"), None::<InspectNetworkOptions>)
        .await
        .unwrap();
    let ipam = network.ipam.unwrap();
    assert_eq!(ipam.driver.as_deref(), Some("default"));
    let pool = ipam.config.unwrap().remove(0);
    let reserved = pool.auxiliary_addresses.unwrap();
    assert!(reserved["router"].ends_with(".2"), "{reserved:?}");
    let name = world
        .run(world.instance("order", &["net"], &["keep"]))
        .await;
    let networks = inspect(&name).await.network_settings.unwrap().networks;
    let address = networks
        .unwrap()
        .remove(&world.name("net"))
        .unwrap()
        .ip_address;
    // The gateway has the first, and the next is kept free.
    assert!(address.as_ref().unwrap().ends_with(".3"), "{address:?}");
}
