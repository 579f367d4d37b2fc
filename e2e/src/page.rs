//! Web pages, read in the simplest way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pages are small here.
const LARGEST_PAGE: u64 = 1 << 20;

/// The body of `http://AUTHORITY/`.
///
/// # Errors
/// When nobody answers, or not with 200.
pub async fn read(authority: &str) -> Result<String> {
    read_path(authority, "/").await
}

/// The body of `http://AUTHORITYPATH`.
///
/// # Errors
/// When nobody answers, or not with 200.
pub async fn read_path(authority: &str, path: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream
            .take(LARGEST_PAGE)
            .read_to_string(&mut answer)
            .await
            .map(|_| answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange).await;
    let answer = answer
        .with_context(|| format!("{authority} takes too long"))?
        .with_context(|| authority.to_owned())?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{authority} speaks no HTTP"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{authority} answers {head}");
    Ok(body.to_owned())
}
