//! Listening and dialling, over real sockets.

use super::*;

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("daemonbase-{name}-{}", std::process::id()))
}

#[test]
fn endpoints_read_as_they_are_written() {
    for (text, shown) in [
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:///run/a.sock", "unix:/run/a.sock"),
        ("/run/a.sock", "unix:/run/a.sock"),
        ("http://192.0.2.1:1790", "http://192.0.2.1:1790"),
        ("[2001:db8::1]:1790", "http://[2001:db8::1]:1790"),
        ("ipam.example:1790", "http://ipam.example:1790"),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
    }
    for bad in ["", "unix:run", "192.0.2.1", "2001:db8::1:1790", "http://:1790", "host:99999", "http://a/b:1"] {
        let e = bad.parse::<Address>().expect_err(bad);
        assert!(e.contains("unix:/run"), "{e}");
    }
}

#[tokio::test]
async fn a_socket_has_its_mode_serves_and_goes_away_on_stop() {
    let path = scratch("serve").join("run/d.sock");
    let address = Address::Unix(path.clone());
    let (stop, stopped) = watch::channel(false);
    let listener = Listener::bind(&address, 0o660).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let task = tokio::spawn(listener.serve(Routes::default(), stopped));

    let channel = connect("bgpd", &address).await.expect("it listens");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let request = tonic::Request::new(());
    let path_and_query = "/none/None".parse().unwrap();
    let reply = client.unary::<(), (), _>(request, path_and_query, tonic_codec()).await;
    assert_eq!(reply.expect_err("no such service").code(), tonic::Code::Unimplemented);

    let e = Listener::bind(&address, 0o660).await.expect_err("a living socket is kept").to_string();
    assert!(e.contains("another process answers"), "{e}");
    stop.send(true).unwrap();
    task.await.unwrap().unwrap();
    assert!(!path.exists());
    std::fs::remove_dir_all(scratch("serve")).unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let dir = scratch("stale");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("d.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = Address::Unix(path.clone());
    let e = connect("bgpd", &address).await.expect_err("nobody there").to_string();
    assert!(
        e.starts_with("cannot reach bgpd at unix:/") && e.contains("refused") && e.ends_with("is it running?"),
        "{e}"
    );
    drop(Listener::bind(&address, 0o600).await.expect("stale socket is replaced"));

    let file = dir.join("precious");
    std::fs::write(&file, b"x").unwrap();
    let e = Listener::bind(&Address::Unix(file.clone()), 0o600).await.expect_err("a file").to_string();
    assert!(e.contains("no socket") && file.exists(), "{e}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn tcp_serves_and_a_port_in_use_says_so() {
    let first = Listener::bind(&Address::Tcp("127.0.0.1:0".into()), 0).await.unwrap();
    let address = first.address();
    let e = Listener::bind(&address, 0).await.expect_err("in use").to_string();
    assert!(e.contains("in use") && e.contains("ss -ltnp"), "{e}");
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(first.serve(Routes::default(), stopped));
    connect("ipamd", &address).await.expect("it listens");
    stop.send(true).unwrap();
    task.await.unwrap().unwrap();
    let e = connect("ipamd", &address).await.expect_err("gone").to_string();
    assert!(e.contains("refused"), "{e}");
}

fn tonic_codec() -> tonic_prost::ProstCodec<(), ()> {
    tonic_prost::ProstCodec::default()
}
