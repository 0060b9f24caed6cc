//! The forwarder between real sockets on loopback, with this process's own network namespace on both sides.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::*;
use crate::container::port::{ContainerPort, HostPort, PortMapping, Protocol};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn own_namespace() -> OwnedFd {
    std::fs::File::open("/proc/self/ns/net").unwrap().into()
}

fn may_enter_namespaces() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: entering a network namespace needs root");
    }
    root
}

fn forward_to(number: u16, protocol: Protocol) -> (Forwarder, SocketAddr) {
    let container = ContainerPort { number, protocol };
    let mapping = PortMapping { host_ip: Some(LOOPBACK), host_port: HostPort::Any, container };
    let bound = bind(&[mapping]).unwrap();
    let address = SocketAddr::new(bound[0].published.host_ip, bound[0].published.host_port);
    (start(bound, own_namespace(), LOOPBACK).unwrap(), address)
}

/// Answers every connection with what it sent, once it has sent all of it.
fn echo_after_end() -> u16 {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                let _ = stream.write_all(&all);
            });
        }
    });
    port
}

fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn a_stream_is_carried_whole_and_half_closed() {
    if !may_enter_namespaces() {
        return;
    }
    let (_forwarder, address) = forward_to(echo_after_end(), Protocol::Tcp);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
    assert_eq!(exchange(address, &bytes), bytes);
    assert_eq!(exchange(address, b""), b"");
}

#[test]
fn many_connections_at_once() {
    if !may_enter_namespaces() {
        return;
    }
    let (_forwarder, address) = forward_to(echo_after_end(), Protocol::Tcp);
    let clients: Vec<_> = (0..64u8)
        .map(|number| thread::spawn(move || assert_eq!(exchange(address, &[number; 100_000]), [number; 100_000])))
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_receiver_that_does_not_read_stops_the_sender() {
    if !may_enter_namespaces() {
        return;
    }
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let (_forwarder, address) = forward_to(listener.local_addr().unwrap().port(), Protocol::Tcp);
    let mut sender = TcpStream::connect(address).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    sender.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk = vec![7; 1 << 20];
    let mut sent = 0;
    // The kernel's own socket buffers hold some megabytes; the forwarder adds 64 KiB and no more.
    while let Ok(length) = sender.write(&chunk) {
        sent += length;
        assert!(sent < 64 << 20, "nobody reads, yet everything is taken");
    }
    drop(sender);
    let mut all = Vec::new();
    receiver.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), sent);
}

#[test]
fn a_refusal_is_seen_as_a_reset() {
    if !may_enter_namespaces() {
        return;
    }
    // One end of a connection has the port, so that nobody can listen there.
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let end = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let nobody = end.local_addr().unwrap().port();
    let (_forwarder, address) = forward_to(nobody, Protocol::Tcp);
    let mut stream = TcpStream::connect(address).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn datagrams_find_their_way_back() {
    if !may_enter_namespaces() {
        return;
    }
    let server = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let (_forwarder, address) = forward_to(server.local_addr().unwrap().port(), Protocol::Udp);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    let clients: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind((LOOPBACK, 0)).unwrap()).collect();
    for (number, client) in clients.iter().enumerate() {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.send_to(&[number as u8; 1200], address).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let mut buffer = [0; 2048];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[number as u8; 1200][..], address));
    }
}

#[test]
fn a_taken_port_is_said_so() {
    let holder = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let taken = holder.local_addr().unwrap();
    let mapping = |host_port| PortMapping {
        host_ip: Some(LOOPBACK),
        host_port,
        container: ContainerPort { number: 80, protocol: Protocol::Tcp },
    };
    let error = bind(&[mapping(HostPort::Exactly(taken.port()))]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot publish 80/tcp on {taken}: the port is already allocated"));
    let error = bind(&[mapping(HostPort::OneOf(taken.port()..=taken.port()))]).unwrap_err();
    assert!(matches!(error, BindError::RangeTaken { .. }));
    drop(holder);
}

#[test]
fn every_address_is_both_families_on_one_port() {
    let mapping = PortMapping::anywhere("80/tcp".parse().unwrap());
    let bound = bind(&[mapping]).unwrap();
    let published: Vec<String> = bound.iter().map(|bound| bound.published.to_string()).collect();
    let port = bound[0].published.host_port;
    let expected = [format!("0.0.0.0:{port}->80/tcp"), format!("[::]:{port}->80/tcp")];
    assert_eq!(published, expected[..published.len()]);
}
