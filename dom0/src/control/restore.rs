//! Restoring: a domain from an image on a shelf.

use alloc::string::ToString;

use super::Control;
use super::create::Created;
use crate::hypervisor::Hypervisor;
use crate::save::build::{self, Settings};
use crate::save::image;
use crate::save::plan::Plan;

impl<H: Hypervisor> Control<'_, H> {
    /// Makes a domain of an image and lets it run. The image is read and checked to its end before anything is made.
    pub fn restore(&mut self, file: &str) -> Result<Created, alloc::string::String> {
        let (shelf, name) = self.shelf(file)?;
        let mut reading = shelf.read(&name)?;
        let (mut guest, mut warnings) = image::read(&mut reading)?;
        let plan = Plan::read(&mut reading, guest.maxmem << 8)?;
        reading.finish()?;
        guest.name = self.free_name(guest.name, false)?;
        let uuid = guest.uuid.ok_or("the image has no uuid")?;
        let settings = Settings { max_memory: guest.maxmem, vcpus: guest.maxvcpus, uuid };
        let mut reading = shelf.read(&name)?;
        image::read(&mut reading)?;
        let built = build::build(&mut self.hv, &settings, plan, &mut reading)?;
        let (dom, name) = (built.dom, guest.name.to_string());
        warnings.extend(built.warnings.iter().cloned());
        if let Err(error) = self.connect(built, guest, uuid) {
            self.take_apart(dom);
            return Err(error);
        }
        Ok(Created { dom, name, warnings })
    }
}
