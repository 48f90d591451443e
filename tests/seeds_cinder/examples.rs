//! The examples print what they say they show.

use std::error::Error;
use std::io::Write;

use crate::{cinder_drivers, shared_targets};

type Shows = fn(&mut dyn Write) -> Result<(), Box<dyn Error>>;

/// What an example prints; its `main` has to work as well.
fn printed(show: Shows, main: fn() -> Result<(), Box<dyn Error>>) -> String {
    main().unwrap();
    let mut out = Vec::new();
    show(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn locks_of_drivers() {
    let expected = "\
LIO _execute: node-tool/lioadm
  without: cinder-rtstool runs twice at a time
  with:    node-tool/lioadm is busy; nothing went wrong
NVMET delete_nvmeof_target: node-tool/nvmetcli
  without: namespace 2 went with subsystem s1
  with:    node-tool/nvmetcli is busy; nothing went wrong
HGST create_volume: driver-process/cinder-hgst-devices
  without: device 0 was given away twice
  with:    driver-process/cinder-hgst-devices is busy; nothing went wrong
SolidFire clone_image: driver-process/solidfire-{image_id}
  without: template volume of i1 was created twice
  with:    driver-process/solidfire-i1 is busy; nothing went wrong
Infinidat terminate_connection: backend-map/infinidat-{self.management_address}-lock
  without: mapping 2 went with host h1
  with:    backend-map/infinidat-10.0.0.9-lock is busy; nothing went wrong
Kaminario FC initialize_connection: backend-map/Kaminario-{san_ip}
  without: what was for the array went to its replica
  with:    backend-map/Kaminario-10.0.0.7 is busy; nothing went wrong
Kaminario iSCSI terminate_connection: backend-map/Kaminario-{san_ip}
  without: what was for the array went to its replica
  with:    backend-map/Kaminario-10.0.0.7 is busy; nothing went wrong
Dell Unity create_host: backend-host/{self.host}-{name}
  without: host h1 was created twice
  with:    backend-host/U1-h1 is busy; nothing went wrong
Dell Unity _detach_and_delete_host: backend-host/{client.host}-{host_name}
  without: LUN 2 went with host h1
  with:    backend-host/U1-h1 is busy; nothing went wrong
Dothill _get_session_key: backend-api/{driver_name}-{array_name}
  without: session was created twice
  with:    backend-api/lenovo-a1 is busy; nothing went wrong
Dothill map_volume: backend-map/{driver_name}-{array_name}-map
  without: LUN 1 was given away twice
  with:    backend-map/lenovo-a1-map is busy; nothing went wrong
";
    assert_eq!(printed(cinder_drivers::show, cinder_drivers::main), expected);
}

#[test]
fn targets_that_are_shared() {
    let expected = r#"without the guard: nobody waits; V-B is lost
with it, by service: nobody waits; V-B is lost
with it, by backend: backend-node/b1 is busy; V-B can be read
the second service starts: array SN1 is backend s1, and cannot be s2 as well
start, targets not shared: crashed after 200 records
start again: 50 records were left to change
start, nothing reported: 250 records changed back
{"backend_id":"b1","id":"v7","shared_targets":true}
a user takes V-A's mapping away: a host still uses volume V-A
the service takes V-A's mapping away: done
killed while it detached V-A, then recovered: available, mapped: false
"#;
    assert_eq!(printed(shared_targets::show, shared_targets::main), expected);
}
