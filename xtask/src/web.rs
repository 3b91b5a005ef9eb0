//! `cargo xtask web`: builds the browser package and its page.
//!
//! The steps are cargo, wasm-bindgen (its library, in the version that the modules were compiled with), wasm-opt
//! (from npm's binaryen package, because building its C++ sources takes many minutes), the digests of the package's
//! files (`web/seal.mjs`), and tsc and Vite, which write `web/dist`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::cargo;
use crate::{export, layers};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "web";
/// The features that every browser with WebAssembly SIMD has. wasm-opt must be told of them.
const FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-multivalue",
    "--enable-reference-types",
];

/// A wasm module of the package.
struct Module {
    /// The crate.
    package: &'static str,
    /// The name of its files in `web/pkg`.
    name: &'static str,
    /// The largest size in bytes, compressed by gzip.
    limit: u64,
}

const MODULES: [Module; 2] = [
    Module { package: "honelm-web", name: "honelm_web", limit: 2_500_000 },
    Module { package: "honelm-web-gateway", name: "honelm_gateway", limit: 400_000 },
];

/// The files of data that the gateway's module is given, which a page fetches with it.
const DATA: [&str; 2] = ["crates/gateway/data/tagger.bin", "crates/honelm/data/router.estimator"];

/// The folders of the build.
struct Places {
    /// The sources of the page.
    web: PathBuf,
    /// Cargo's target folder.
    target: PathBuf,
}

impl Places {
    fn find() -> Result<Self, String> {
        let metadata = layers::metadata()?;
        let web = metadata.workspace_root.as_std_path().join("web");
        Ok(Self { web, target: metadata.target_directory.into_std_path_buf() })
    }
}

/// Builds everything, or only the package.
pub fn build(package_only: bool) -> Result<(), String> {
    let places = Places::find()?;
    let compiled = compile(&places)?;
    install(&places.web)?;
    // Runs with the feature that has wasm-bindgen's library, which nothing else needs.
    let again = ["run", "--quiet", "--bin", "xtask", "--features", "xtask/web", "--", "web", "--bind"];
    run(cargo().args(again).arg(&compiled))?;
    for module in &MODULES {
        optimise(&places.web, module)?;
        measure(&places.web, module)?;
    }
    for data in DATA.map(Path::new) {
        let (from, to) =
            (places.web.join("..").join(data), places.web.join("pkg").join(data.file_name().unwrap_or_default()));
        std::fs::copy(&from, to).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    run(Command::new("node").arg(places.web.join("seal.mjs")))?;
    if package_only {
        return Ok(());
    }
    run(npm(&places.web).args(["run", "--silent", "check"]))?;
    run(npm(&places.web).args(["run", "--silent", "build", "--", "--logLevel", "warn"]))?;
    println!("the page is in {}; `honelm web` serves it", places.web.join("dist").display());
    Ok(())
}

/// Builds everything, and copies the page and models to a folder.
pub fn export(out: &Path, models: &[PathBuf], split: Option<u64>) -> Result<(), String> {
    build(false)?;
    export::export(&Places::find()?.web.join("dist"), models, split, out)?;
    println!("the page is in {}; its file _headers has the headers that a host must send", out.display());
    Ok(())
}

/// Compiles the modules with rustup's target if it is installed, otherwise with Debian's compiler and library
/// sources. Returns their folder.
fn compile(places: &Places) -> Result<PathBuf, String> {
    let debian = !has_target();
    let folder = if debian { places.target.join("wasm-debian") } else { places.target.clone() };
    let mut cargo = if debian { Command::new("/usr/bin/cargo") } else { cargo() };
    cargo.args(["build", "--quiet", "--lib", "--profile", PROFILE, "--target", TARGET]);
    cargo.args(MODULES.iter().flat_map(|module| ["--package", module.package]));
    cargo.arg("--target-dir").arg(&folder);
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-C target-feature=+simd128");
    if debian {
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19");
        // The variables that rustup's cargo sets must not reach Debian's.
        for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "RUSTDOC"] {
            cargo.env_remove(name);
        }
    }
    run(&mut cargo).map_err(|problem| {
        let hint =
            "needs `rustup target add wasm32-unknown-unknown`, or Debian's rustc-web, cargo-web, rust-web-src, lld-19";
        if debian { format!("{problem}\n  {hint}") } else { problem }
    })?;
    Ok(folder.join(TARGET).join(PROFILE))
}

/// Returns `true` if this compiler has the library of the wasm target.
pub fn has_target() -> bool {
    let found = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    found.is_ok_and(|out| out.status.success() && Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_dir())
}

/// Turns the compiled modules in a folder into a package that JavaScript imports: `web/pkg`.
#[cfg(feature = "web")]
pub fn bind(compiled: &Path) -> Result<(), String> {
    let package = Places::find()?.web.join("pkg");
    for Module { package: of, name, .. } in &MODULES {
        let input = compiled.join(format!("{}.wasm", of.replace('-', "_")));
        let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
        let made = bindgen.input_path(input).out_name(name).typescript(true).web(true);
        let made = made.and_then(|bindgen| bindgen.generate(&package));
        made.map_err(|error| format!("wasm-bindgen: {of}: {error:#}"))?;
    }
    Ok(())
}

#[cfg(not(feature = "web"))]
pub fn bind(_: &Path) -> Result<(), String> {
    Err("this needs `cargo run --bin xtask --features xtask/web`".to_owned())
}

impl Module {
    /// Returns the path of the module in the package.
    fn path(&self, web: &Path) -> PathBuf {
        web.join("pkg").join(format!("{}_bg.wasm", self.name))
    }
}

/// Makes a module of the package smaller. LLVM has already optimised it: higher levels take minutes and make it larger
/// again.
fn optimise(web: &Path, module: &Module) -> Result<(), String> {
    let module = module.path(web);
    let mut node = Command::new("node");
    node.arg(web.join("node_modules/binaryen/bin/wasm-opt")).args(["-O1", "--strip-debug", "--strip-producers"]);
    run(node.args(FEATURES).arg(&module).arg("-o").arg(&module))
}

/// Prints the size of a module of the package and checks its limit.
fn measure(web: &Path, of: &Module) -> Result<(), String> {
    let (Module { name, limit, .. }, module) = (of, of.path(web));
    let script = "const z=require('zlib'),f=require('fs');\
                  console.log(z.gzipSync(f.readFileSync(process.argv[1]),{level:9}).length)";
    let counted = Command::new("node").args(["-e", script]).arg(&module).output().map_err(|e| format!("node: {e}"))?;
    let gzipped: u64 = String::from_utf8_lossy(&counted.stdout).trim().parse().map_err(|e| format!("gzip: {e}"))?;
    let plain = std::fs::metadata(&module).map_err(|e| format!("{}: {e}", module.display()))?.len();
    println!("{name}: {plain} bytes, {gzipped} gzipped");
    if gzipped > *limit {
        return Err(format!("{}: found {gzipped} bytes gzipped, expected at most {limit}", module.display()));
    }
    Ok(())
}

/// Installs the page's tools if they are missing or older than their lock file.
fn install(web: &Path) -> Result<(), String> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let (list, done) = (web.join("package-lock.json"), web.join("node_modules/.package-lock.json"));
    if modified(&done).is_some_and(|done| modified(&list).is_some_and(|list| list <= done)) {
        return Ok(());
    }
    run(npm(web).args(["ci", "--no-audit", "--no-fund", "--silent"]))
}

fn npm(web: &Path) -> Command {
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.current_dir(web);
    npm
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
