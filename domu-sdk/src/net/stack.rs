//! TCP/IP on an interface: the crate `smoltcp` on the SDK's tasks.
//!
//! One task ([`Stack::run`]) moves frames and lets the stack's timers run; it sleeps until an event, a deadline, or until a socket has
//! something to send. Sockets belong to whoever holds a [`TcpStream`] or a [`TcpListener`]; their operations only touch buffers, wake that task, and
//! wait until it has done something about them.

use super::nic::{Error, Nic, Result, greet};
use crate::{
    executor::{self, WaitList},
    start,
    time::{self, Instant},
};
use alloc::{string::ToString, sync::Arc, vec, vec::Vec};
use core::{
    fmt,
    future::poll_fn,
    net::Ipv4Addr,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, Checksum, DeviceCapabilities, Medium},
    socket::{dhcpv4, tcp},
    wire::{EthernetAddress, IpCidr, IpEndpoint, Ipv4Cidr},
};

/// Bytes of a connection's buffer in each direction.
const BUFFER: usize = 64 << 10;
/// How long a greeting may stay unanswered.
const GREETING: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(20);
/// How long the other side of a connection may leave data unanswered. Longer than a domain is usually paused: time goes on meanwhile.
const SILENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(300);
/// After so long without a word the other side is asked whether it is there, and tells its window again.
const ASK: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(5);
/// First port that is used for connections of this side.
const PORTS: u16 = 49152;

/// How an interface gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It asks (DHCP).
    Dhcp,
    /// It is told: address, length of the network's prefix, and the way to other networks.
    Static(Ipv4Addr, u8, Option<Ipv4Addr>),
}

impl Setting {
    /// Reads `10.0.2.15/24`, `10.0.2.15/24,gw=10.0.2.2` or `dhcp`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Setting(text.to_string());
        if text == "dhcp" || text.is_empty() {
            return Ok(Self::Dhcp);
        }
        let (own, gateway) = match text.split_once(",gw=") {
            Some((own, gateway)) => (own, Some(gateway.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (address, prefix) = own.split_once('/').unwrap_or((own, "24"));
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(wrong)?;
        Ok(Self::Static(address.parse().map_err(|_| wrong())?, prefix, gateway))
    }

    /// What the command line says after `ip=`; without it, DHCP.
    pub fn from_command_line() -> Result<Self> {
        start::parameter("ip").map_or(Ok(Self::Dhcp), Self::parse)
    }
}

struct Inner {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    /// Connections nobody holds any more, until they have ended.
    ending: Vec<SocketHandle>,
    next_port: u16,
    address: Option<Ipv4Addr>,
}

/// A network stack on one interface. Clones are the same stack.
#[derive(Clone)]
pub struct Stack(Arc<Shared>);

struct Shared {
    inner: spin::Mutex<Inner>,
    /// The task that moves frames waits here.
    work: WaitList,
    /// Those who wait for an address.
    addressed: WaitList,
    channel: Arc<crate::events::Channel>,
    pending: core::sync::atomic::AtomicBool,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack on {}", self.0.inner.lock().nic)
    }
}

fn now() -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((Instant::now().nanoseconds() / 1000) as i64)
}

impl Stack {
    /// Opens interface 0, set up as the command line says, and starts the task that serves it.
    pub async fn start() -> Result<Self> {
        let setting = Setting::from_command_line()?;
        let stack = Self::new(Nic::open(0).await?, setting);
        executor::spawn(stack.clone().run());
        Ok(stack)
    }

    /// A stack on an interface; nothing moves unless [`Stack::run`] runs.
    pub fn new(mut nic: Nic, setting: Setting) -> Self {
        let mut config = Config::new(EthernetAddress(nic.mac()).into());
        config.random_seed = Instant::now().nanoseconds();
        let mut interface = Interface::new(config, &mut Device(&mut nic), now());
        let mut sockets = SocketSet::new(Vec::new());
        let mut dhcp = None;
        let mut address = None;
        match setting {
            Setting::Dhcp => dhcp = Some(sockets.add(dhcpv4::Socket::new())),
            Setting::Static(own, prefix, gateway) => {
                address = Some(own);
                set_address(&mut interface, Some((Ipv4Cidr::new(own, prefix), gateway)));
            }
        }
        let channel = nic.channel().clone();
        let inner = Inner { nic, interface, sockets, dhcp, ending: Vec::new(), next_port: PORTS, address };
        Self(Arc::new(Shared {
            inner: spin::Mutex::new(inner),
            work: WaitList::new(),
            addressed: WaitList::new(),
            channel,
            pending: core::sync::atomic::AtomicBool::new(false),
        }))
    }

    /// Serves the interface for ever, or until its back end breaks the protocol.
    pub async fn run(self) {
        while !self.0.inner.lock().nic.is_broken() {
            if let Err(error) = self.follow_restore().await {
                return log::error!("network: {error} after a restore");
            }
            let delay = self.turn();
            let sleep = time::sleep(delay.unwrap_or(Duration::from_secs(3600)));
            let mut sleep = pin!(sleep);
            poll_fn(|context| {
                // Registered first: news between the two is not missed.
                self.0.channel.register(context);
                self.0.work.register(context);
                if self.0.channel.take() || self.0.pending.swap(false, core::sync::atomic::Ordering::AcqRel) {
                    return Poll::Ready(());
                }
                sleep.as_mut().poll(context)
            })
            .await;
        }
        log::error!("network: {}", Error::Broken);
    }

    /// Connects the interface again if the domain was restored. Connections go on: what was lost is sent again.
    async fn follow_restore(&self) -> Result {
        let frontend = {
            let inner = self.0.inner.lock();
            if !inner.nic.is_stale() {
                return Ok(());
            }
            inner.nic.frontend()
        };
        let gathers = greet(&frontend).await?;
        let link = self.0.inner.lock().nic.begin_anew(gathers);
        link.connect().await
    }

    /// Moves what can be moved; how long nothing will be to do unless something happens.
    fn turn(&self) -> Option<Duration> {
        let mut guard = self.0.inner.lock();
        let inner = &mut *guard;
        inner.interface.poll(now(), &mut Device(&mut inner.nic), &mut inner.sockets);
        if inner.follow_dhcp() {
            self.0.addressed.wake_all();
        }
        inner.bury();
        inner.nic.flush();
        let delay = inner.interface.poll_delay(now(), &inner.sockets);
        delay.map(|delay| Duration::from_micros(delay.total_micros()))
    }

    fn kick(&self) {
        self.0.pending.store(true, core::sync::atomic::Ordering::Release);
        self.0.work.wake_all();
    }

    /// The address, if there is one yet.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.0.inner.lock().address
    }

    /// Waits until there is an address.
    pub async fn wait_for_address(&self) -> Ipv4Addr {
        poll_fn(|context| {
            self.0.addressed.register(context);
            self.address().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// What went through the interface.
    pub fn counts(&self) -> super::nic::Counts {
        self.0.inner.lock().nic.counts()
    }

    fn with<T>(&self, handle: SocketHandle, f: impl FnOnce(&mut tcp::Socket<'static>) -> T) -> T {
        f(self.0.inner.lock().sockets.get_mut::<tcp::Socket<'_>>(handle))
    }
}

impl Inner {
    /// Takes over what the DHCP server said. Returns whether there is an address now.
    fn follow_dhcp(&mut self) -> bool {
        let Some(handle) = self.dhcp else { return false };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(config)) => {
                set_address(&mut self.interface, Some((config.address, config.router)));
                self.address = Some(config.address.address());
                true
            }
            Some(dhcpv4::Event::Deconfigured) => {
                set_address(&mut self.interface, None);
                self.address = None;
                false
            }
            None => false,
        }
    }

    /// Removes connections that have ended and that nobody holds.
    fn bury(&mut self) {
        let sockets = &mut self.sockets;
        self.ending.retain(|handle| {
            let over = matches!(
                sockets.get::<tcp::Socket<'_>>(*handle).state(),
                tcp::State::Closed | tcp::State::TimeWait
            );
            if over {
                sockets.remove(*handle);
            }
            !over
        });
    }

    fn socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // Between guests an answer comes in microseconds: waiting for more to acknowledge or to send only costs time.
        socket.set_nagle_enabled(false);
        // Who does not answer for so long is gone.
        socket.set_timeout(Some(SILENCE));
        // A lost word about a window that opened again would otherwise stop a connection for ever.
        socket.set_keep_alive(Some(ASK));
        self.sockets.add(socket)
    }
}

fn set_address(interface: &mut Interface, to: Option<(Ipv4Cidr, Option<Ipv4Addr>)>) {
    interface.update_ip_addrs(|list| {
        list.clear();
        if let Some((own, _)) = to {
            // One fits always.
            let _ = list.push(IpCidr::Ipv4(own));
        }
    });
    interface.routes_mut().remove_default_ipv4_route();
    if let Some((_, Some(gateway))) = to {
        // The table was just emptied of the only route that is ever put in.
        let _ = interface.routes_mut().add_default_ipv4_route(gateway);
    }
}

/// A TCP connection. Dropping it ends it in good order, in the background.
#[derive(Debug)]
pub struct TcpStream {
    stack: Stack,
    handle: SocketHandle,
}

impl TcpStream {
    /// Connects to a port of another machine.
    pub async fn connect(stack: &Stack, address: Ipv4Addr, port: u16) -> Result<Self> {
        let handle = {
            let mut guard = stack.0.inner.lock();
            let inner = &mut *guard;
            let handle = inner.socket();
            let own = inner.next_port;
            inner.next_port = own.checked_add(1).unwrap_or(PORTS);
            let context = inner.interface.context();
            let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let remote = IpEndpoint::new(address.into(), port);
            socket.set_timeout(Some(GREETING));
            if socket.connect(context, remote, own).is_err() {
                inner.sockets.remove(handle);
                return Err(Error::Refused);
            }
            handle
        };
        let stream = Self { stack: stack.clone(), handle };
        stack.kick();
        stream
            .wait(|socket, context| {
                socket.register_send_waker(context.waker());
                match socket.state() {
                    tcp::State::SynSent | tcp::State::SynReceived => None,
                    tcp::State::Closed => Some(Err(Error::Refused)),
                    _ => Some(Ok(())),
                }
            })
            .await?;
        stack.with(stream.handle, |socket| socket.set_timeout(Some(SILENCE)));
        Ok(stream)
    }

    async fn wait<T>(
        &self,
        mut ready: impl FnMut(&mut tcp::Socket<'static>, &Context<'_>) -> Option<T>,
    ) -> T {
        poll_fn(|context| match self.stack.with(self.handle, |socket| ready(socket, context)) {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        })
        .await
    }

    /// Who is at the other end; `None` if the connection is over.
    pub fn peer(&self) -> Option<(Ipv4Addr, u16)> {
        let endpoint = self.stack.with(self.handle, |socket| socket.remote_endpoint())?;
        match endpoint.addr {
            smoltcp::wire::IpAddress::Ipv4(address) => Some((address, endpoint.port)),
        }
    }

    /// Waits for bytes and takes some; 0 if the other side sends no more.
    pub async fn read(&self, out: &mut [u8]) -> Result<usize> {
        let count = self
            .wait(|socket, context| {
                socket.register_recv_waker(context.waker());
                match socket.recv_slice(out) {
                    Ok(0) if !out.is_empty() => None,
                    Ok(count) => Some(Ok(count)),
                    Err(tcp::RecvError::Finished) => Some(Ok(0)),
                    Err(tcp::RecvError::InvalidState) => Some(Err(Error::Refused)),
                }
            })
            .await?;
        // The other side may be waiting to hear of the room.
        self.stack.kick();
        Ok(count)
    }

    /// Waits until all of `out` is filled.
    pub async fn read_exact(&self, out: &mut [u8]) -> Result {
        let mut done = 0;
        while done < out.len() {
            match self.read(&mut out[done..]).await? {
                0 => return Err(Error::Closed),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Waits for room and sends some of the bytes; how many.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize> {
        let count = self
            .wait(|socket, context| {
                socket.register_send_waker(context.waker());
                match socket.send_slice(bytes) {
                    Ok(0) if !bytes.is_empty() => None,
                    Ok(count) => Some(Ok(count)),
                    Err(_) => Some(Err(Error::Closed)),
                }
            })
            .await?;
        self.stack.kick();
        Ok(count)
    }

    /// Sends all bytes.
    pub async fn write_all(&self, bytes: &[u8]) -> Result {
        let mut done = 0;
        while done < bytes.len() {
            done += self.write(&bytes[done..]).await?;
        }
        Ok(())
    }

    /// Says that no more will be sent, and waits until the other side has all that was.
    pub async fn finish(&self) -> Result {
        self.stack.with(self.handle, |socket| socket.close());
        self.stack.kick();
        self.wait(|socket, context| {
            socket.register_send_waker(context.waker());
            match socket.state() {
                tcp::State::FinWait2 | tcp::State::TimeWait | tcp::State::Closed => Some(()),
                _ => None,
            }
        })
        .await;
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        {
            let mut guard = self.stack.0.inner.lock();
            guard.sockets.get_mut::<tcp::Socket<'_>>(self.handle).close();
            guard.ending.push(self.handle);
        }
        self.stack.kick();
    }
}

/// Takes TCP connections on a port.
#[derive(Debug)]
pub struct TcpListener {
    stack: Stack,
    port: u16,
    /// Sockets that wait for a connection: as many may come at the same moment.
    waiting: Vec<SocketHandle>,
}

impl TcpListener {
    /// Listens on a port; `backlog` connections may come before one is accepted.
    pub fn bind(stack: &Stack, port: u16, backlog: usize) -> Result<Self> {
        let mut listener = Self { stack: stack.clone(), port, waiting: Vec::new() };
        for _ in 0..backlog.max(1) {
            let handle = listener.listen()?;
            listener.waiting.push(handle);
        }
        Ok(listener)
    }

    fn listen(&self) -> Result<SocketHandle> {
        let mut guard = self.stack.0.inner.lock();
        let handle = guard.socket();
        match guard.sockets.get_mut::<tcp::Socket<'_>>(handle).listen(self.port) {
            Ok(()) => Ok(handle),
            Err(_) => {
                guard.sockets.remove(handle);
                Err(Error::Refused)
            }
        }
    }

    /// Waits for a connection.
    pub async fn accept(&mut self) -> Result<TcpStream> {
        let place = poll_fn(|context| {
            for (place, handle) in self.waiting.iter().enumerate() {
                let taken = self.stack.with(*handle, |socket| {
                    socket.register_send_waker(context.waker());
                    !matches!(socket.state(), tcp::State::Listen | tcp::State::SynReceived)
                });
                if taken {
                    return Poll::Ready(place);
                }
            }
            Poll::Pending
        })
        .await;
        let fresh = self.listen()?;
        let handle = core::mem::replace(&mut self.waiting[place], fresh);
        Ok(TcpStream { stack: self.stack.clone(), handle })
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let mut guard = self.stack.0.inner.lock();
        for handle in self.waiting.drain(..) {
            guard.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
            guard.ending.push(handle);
        }
    }
}

/// The interface as `smoltcp` sees it.
struct Device<'a>(&'a mut Nic);

/// A frame that came.
struct Arrived(Vec<u8>);

/// Room for a frame to be sent.
struct Room<'a>(&'a mut Nic);

impl phy::Device for Device<'_> {
    type RxToken<'a>
        = Arrived
    where
        Self: 'a;
    type TxToken<'a>
        = Room<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived, Room<'_>)> {
        // An answer must find room, or what asked for it waits.
        if !self.0.has_room(self.0.mtu() + 14) {
            return None;
        }
        let frame = self.0.receive()?;
        Some((Arrived(frame), Room(self.0)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Room<'_>> {
        self.0.has_room(self.0.mtu() + 14).then_some(Room(self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.0.mtu() + 14;
        // The interface does them.
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::None;
        capabilities
    }
}

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        // There is room: that is what the token says.
        let _ = self.0.send(&mut frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let address = Ipv4Addr::new(10, 0, 2, 15);
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
        let fine = [
            ("dhcp", Setting::Dhcp),
            ("10.0.2.15", Setting::Static(address, 24, None)),
            ("10.0.2.15/16,gw=10.0.2.2", Setting::Static(address, 16, gateway)),
        ];
        for (text, setting) in fine {
            assert_eq!(Setting::parse(text), Ok(setting));
        }
        for text in ["10.0.2", "10.0.2.15/33", "10.0.2.15/24,gw=x", "10.0.2.15/24,gx=10.0.2.2"] {
            assert_eq!(Setting::parse(text), Err(Error::Setting(text.to_string())));
        }
    }
}
