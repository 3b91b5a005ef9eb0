//! A server, from its configuration to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use honelm::RunOptions;

use crate::app::{App, Shared};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::http::{self, Listener};
use crate::registry::{Loader, Registry};
use crate::routes;
use crate::web::WebPage;

/// A server that listens.
pub struct Server {
    app: Shared,
    listener: Listener,
    place: Place,
}

/// The address of a server.
#[derive(Debug, Clone)]
enum Place {
    Port(std::net::SocketAddr),
    #[cfg(unix)]
    Socket(PathBuf),
}

/// Returns the registry of the models that a configuration names, or else of the shipped one.
///
/// # Errors
/// A model that cannot be found, or whose files are damaged.
pub fn models(config: &Config, run: &RunOptions, model_dir: Option<&Path>) -> Result<Registry, honelm::Error> {
    let mut registry = Registry::of(config);
    let (parallel, cache_bytes) = (config.parallel, config.cache_bytes);
    let options = run.clone();
    let loader = move |path: &Path| Loader::of_path(path, &options, parallel, cache_bytes);
    let named: Vec<Option<&str>> = match config.models.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    for name in named {
        let path = honelm::locate(name, model_dir)?;
        let loader = loader(&path);
        loader.check()?;
        registry.add(honelm::model_name(&path), loader);
    }
    if config.all_models {
        let folder = model_dir.map(Path::to_owned);
        registry.discover_with(move || {
            let found = honelm::list(folder.as_deref()).models;
            let usable = found.into_iter().filter(|model| model.problem.is_none());
            usable.map(|model| (model.name, loader(&model.path).with_size(model.size_bytes))).collect()
        });
    }
    Ok(registry)
}

impl Server {
    /// Starts to listen. `key` is the API key that clients must send.
    ///
    /// # Errors
    /// An address that cannot be listened on, for example because another program does; a folder without a page.
    pub async fn bind(config: Config, registry: Registry, key: Option<String>) -> io::Result<Self> {
        Self::bind_with(config, registry, key, None).await
    }

    /// Starts to listen, with a gateway whose local model is the first of the registry.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub async fn bind_with(
        config: Config,
        registry: Registry,
        key: Option<String>,
        gateway: Option<Gateway>,
    ) -> io::Result<Self> {
        let web = match &config.web_dir {
            Some(folder) if config.web => Some(WebPage::open(folder)?),
            _ => None,
        };
        let (listener, place) = listen(&config).await?;
        let app = App::new(config, Arc::new(registry), key, gateway.map(Arc::new), web);
        Ok(Self { app: Arc::new(app), listener, place })
    }

    /// Returns the state.
    #[must_use]
    pub fn app(&self) -> &Shared {
        &self.app
    }

    /// Returns the port; `None` on a socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Port(address) => Some(address.port()),
            #[cfg(unix)]
            Place::Socket(_) => None,
        }
    }

    /// Returns the address as clients write it: a URL, or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.place {
            Place::Port(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
            Place::Port(address) => format!("http://{address}"),
            #[cfg(unix)]
            Place::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    /// Returns `true` if only this machine can reach the server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Port(address) => address.ip().is_loopback(),
            #[cfg(unix)]
            Place::Socket(_) => true,
        }
    }

    /// Begins to load the first model, so that the first request need not wait. Must be called within a runtime.
    pub fn preload(&self) {
        let app = Arc::clone(&self.app);
        tokio::spawn(async move {
            if let Err(error) = app.registry.get("", None).await {
                crate::log::message(app.config.log_format, &format!("warning: {error}"));
            }
        });
    }

    /// Serves until `stop` is ready, then ends the answers in progress.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { app, listener, place } = self;
        let reaper = tokio::spawn(Arc::clone(&app.registry).reap());
        let router = routes::router(&app);
        let gateway = app.gateway.clone();
        http::serve(app, router, listener, stop).await;
        reaper.abort();
        if let Some(gateway) = gateway {
            gateway.accounts().flush().await;
        }
        #[cfg(unix)]
        if let Place::Socket(path) = place {
            // Another server may have taken it over.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Waits for SIGTERM. Never ready on platforms without it.
pub async fn terminated() {
    #[cfg(unix)]
    if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        signal.recv().await;
        return;
    }
    std::future::pending().await
}

async fn listen(config: &Config) -> io::Result<(Listener, Place)> {
    #[cfg(unix)]
    if let Some(path) = config.bind.as_deref().and_then(|bind| bind.strip_prefix("unix:")) {
        let path = PathBuf::from(path);
        let listener = listen_on_socket(&path)?;
        return Ok((Listener::Unix(listener), Place::Socket(path)));
    }
    let listener = tokio::net::TcpListener::bind((config.host.as_str(), config.port)).await?;
    let address = listener.local_addr()?;
    Ok((Listener::Tcp(listener), Place::Port(address)))
}

/// Listens on a socket that only this user can reach. A socket that no server listens on any more is replaced.
#[cfg(unix)]
fn listen_on_socket(path: &Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let is_stale = found.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err();
        if !is_stale {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
