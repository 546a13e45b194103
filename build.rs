//! Compiles `proto/` with protox, so that no `protoc` is needed: messages for `src/wire`, the service for `src/grpc`, and
//! the descriptor set that reflection serves.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

const PROTOS: [&str; 5] = [
    "countersign/v1/query.proto",
    "countersign/v1/record.proto",
    "countersign/v1/decision_point.proto",
    "countersign/v1/administration.proto",
    "countersign/v1/masking.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .btree_map(".")
        .out_dir(subdirectory(&out, "messages")?)
        .compile_fds(descriptors.clone())?;
    tonic_prost_build::configure()
        .extern_path(".countersign.v1", "crate::wire::pb")
        .out_dir(subdirectory(&out, "service")?)
        .compile_fds(descriptors)?;
    Ok(())
}

fn subdirectory(out: &Path, name: &str) -> std::io::Result<PathBuf> {
    let path = out.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
