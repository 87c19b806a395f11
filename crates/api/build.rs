//! Compiles proto/*.proto with protox: no protoc on the machine.
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/bgpd.proto", "proto/ipam.proto"].map(PathBuf::from);
    for p in &protos {
        println!("cargo:rerun-if-changed={}", p.display());
    }
    let set = protox::compile(&protos, [PathBuf::from("proto")])?;
    // `noc -o json` prints the messages themselves: the contract's field names are the schema.
    tonic_prost_build::configure().message_attribute(".", "#[derive(serde::Serialize)]").compile_fds(set)?;
    Ok(())
}
