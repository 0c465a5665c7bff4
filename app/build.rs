//! Tells the loader where OpenSlide is, so that programs and tests start from any folder without `LD_LIBRARY_PATH`.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Beside an installed program; then in the working tree, from target/<profile> and from target/<profile>/deps.
    for place in [
        "lib",
        "../lib/reinpath",
        "../../packaging/vendor/openslide/lib",
        "../../../packaging/vendor/openslide/lib",
    ] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/{place}");
    }
}
