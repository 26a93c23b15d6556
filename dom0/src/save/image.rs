//! The front of a saved domain: what was known of the guest.
//!
//! 16 bytes of magic with the version, the text's length (32 bits, little-endian), and the text: settings in the syntax of configuration
//! files, so that they are read by the same code and judged by the same rules. The stream follows.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::{Result, Sink, Source};
use crate::block::spec::{Disk, Format};
use crate::config::{self, Guest};
use crate::control::uuid_text;
use crate::net::spec::Vif;

/// What an image of this version begins with.
const MAGIC: &[u8; 16] = b"xen-lite saved 1";
/// Bytes of text at most.
const TEXT_MAX: u32 = 64 << 10;

/// Writes the front of an image.
pub fn write(sink: &mut dyn Sink, guest: &Guest, uuid: &[u8; 16]) -> Result {
    let text = text(guest, uuid)?;
    sink.put(MAGIC)?;
    sink.put(&(text.len() as u32).to_le_bytes())?;
    sink.put(text.as_bytes())
}

/// Reads the front of an image: the guest, and what is odd about its settings. The stream comes next.
pub fn read(source: &mut dyn Source) -> Result<(Guest, alloc::vec::Vec<String>)> {
    let mut head = [0; MAGIC.len() + 4];
    source.take(&mut head)?;
    let (magic, length) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("this is no saved domain of this version".to_string());
    }
    let length = length.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if length > TEXT_MAX {
        return Err(format!("{length} bytes of settings; at most {TEXT_MAX} are read"));
    }
    let mut text = vec![0; length as usize];
    source.take(&mut text)?;
    let text = String::from_utf8(text).map_err(|_| "the settings are not UTF-8 text".to_string())?;
    let (guest, remarks) = config::parse(&text, "").map_err(|remark| format!("settings: {remark}"))?;
    if guest.name.is_empty() || guest.uuid.is_none() {
        return Err("the settings have no name or no uuid".to_string());
    }
    Ok((guest, remarks.iter().map(|remark| format!("settings: {remark}")).collect()))
}

fn text(guest: &Guest, uuid: &[u8; 16]) -> Result<String> {
    let mut text = String::new();
    for (key, value) in [("name", &guest.name), ("kernel", &guest.kernel), ("cmdline", &guest.cmdline)] {
        text += &format!("{key} = {}\n", quoted(value)?);
    }
    if let Some(ramdisk) = &guest.ramdisk {
        text += &format!("ramdisk = {}\n", quoted(ramdisk)?);
    }
    text += &format!("uuid = '{}'\nmemory = {}\nmaxmem = {}\n", uuid_text(uuid), guest.memory, guest.maxmem);
    text += &format!("vcpus = {}\nmaxvcpus = {}\n", guest.vcpus, guest.maxvcpus);
    for (key, end) in [
        ("on_crash", guest.on_crash),
        ("on_watchdog", guest.on_watchdog),
        ("on_reboot", guest.on_reboot),
        ("on_poweroff", guest.on_poweroff),
    ] {
        text += &format!("{key} = '{}'\n", end.word());
    }
    let disks = guest.disks.iter().map(|it| quoted(&disk(it))).collect::<Result<alloc::vec::Vec<_>>>()?;
    let vifs = guest.vifs.iter().map(|it| quoted(&vif(it))).collect::<Result<alloc::vec::Vec<_>>>()?;
    text += &format!("disk = [ {} ]\nvif = [ {} ]\n", disks.join(", "), vifs.join(", "));
    Ok(text)
}

fn quoted(text: &str) -> Result<String> {
    let quote = ['\'', '"'].into_iter().find(|quote| !text.contains(*quote));
    match quote {
        Some(quote) if !text.contains(char::is_control) => Ok(format!("{quote}{text}{quote}")),
        _ => Err(format!(
            "{text:?} cannot be written into an image: it has both kinds of quotes, or control characters"
        )),
    }
}

/// A disk's text.
fn disk(disk: &Disk) -> String {
    let access = if disk.writable { "rw" } else { "ro" };
    let format = match disk.format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
    };
    let discard = if disk.discard { "discard" } else { "no-discard" };
    let backend = disk.backend.as_ref().map_or(String::new(), |name| format!("backend={name},"));
    format!(
        "{backend}vdev={},access={access},format={format},{discard},target={}",
        disk.vdev.name, disk.target
    )
}

/// An interface's text.
fn vif(vif: &Vif) -> String {
    let mut text = format!("bridge={},mtu={}", vif.bridge, vif.mtu);
    if let Some(mac) = vif.mac {
        text += &format!(",mac={mac}");
    }
    if !vif.addresses.is_empty() {
        let all: alloc::vec::Vec<String> = vif.addresses.iter().map(ToString::to_string).collect();
        text += &format!(",ip={}", all.join(" "));
    }
    if let Some(rate) = vif.rate {
        // Rounded up: reading it rounds down.
        let bits = (rate.bytes * 8_000_000).div_ceil(rate.window.max(1));
        text += &format!(",rate={bits}b/s@{}us", rate.window);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        let text = "name = 'a'\nkernel = 'k'\nextra = \"x='1'\"\nmemory = 24\nmaxmem = 40\nvcpus = 2\n\
            on_crash = 'preserve'\nuuid = '00112233-4455-6677-8899-aabbccddeeff'\n\
            disk = [ 'phy:/dev/vdb,xvda,w', 'overlay:ram:1M:n,xvdb,r', 'backend=b,vdev=xvdc,access=r,target=x' ]\n\
            vif = [ 'bridge=other,ip=10.0.0.1 10.0.0.2,rate=10Mb/s@20ms,mac=00:16:3e:01:02:03' ]";
        let (guest, _) = config::parse(text, "").unwrap();
        let mut image = alloc::vec::Vec::new();
        write(&mut image, &guest, &guest.uuid.unwrap()).unwrap();
        let mut rest = &image[..];
        assert_eq!(read(&mut rest).unwrap(), (guest, alloc::vec::Vec::new()));
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(read(&mut &b"xen-lite saved 2\0\0\0\0"[..]).unwrap_err().contains("no saved domain"));
        let long = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert!(read(&mut &long[..]).unwrap_err().contains("at most"));
        let nameless = [&MAGIC[..], &10u32.to_le_bytes(), b"memory = 8"].concat();
        assert!(read(&mut &nameless[..]).is_err());
    }
}
