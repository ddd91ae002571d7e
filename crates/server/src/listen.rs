//! Sockets: a bounded number of connections, time-outs for those that say nothing, and a stop that lets what
//! runs finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::{App, router};

/// Connections open at once.
const CONNECTIONS: usize = 1024;
/// Longest a client may take over a request's head.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Longest an experiment may take to notice that it was stopped.
const LAST_TIME: Duration = Duration::from_secs(5);

/// A server that holds its address and answers nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes an address; port 0 for any that is free.
///
/// # Errors
/// Where the address cannot be had.
pub async fn bind(host: &str, port: u16) -> std::io::Result<Server> {
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    Ok(Server { listener, address })
}

impl Server {
    /// The address it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets what runs finish.
    pub async fn run(self, app: App, stop: impl Future<Output = ()>) {
        let (jobs, finish_time) = (app.jobs.clone(), app.settings.finish_time);
        let service = TowerToHyperService::new(router(app));
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                () = &mut stop => break,
            };
            let Some((stream, place)) = accepted else { continue };
            // Events are small; waiting to join them would hold each back.
            let _ = stream.set_nodelay(true);
            let connection = http.serve_connection(TokioIo::new(stream), service.clone());
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
        drop(self.listener);
        tracing::info!(open = graceful.count(), "stopping: what runs may finish");
        let finished = async {
            graceful.shutdown().await;
            jobs.idle().await;
        };
        if tokio::time::timeout(finish_time, finished).await.is_err() {
            tracing::warn!("not everything finished in time; the rest is stopped");
            jobs.cancel_all();
            let _ = tokio::time::timeout(LAST_TIME, jobs.idle()).await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            // Out of file descriptors, most likely: others will close.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
