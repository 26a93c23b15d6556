//! Every structure: its C name, its Rust type, its fields.
//!
//! A C name with dots is the type of a member (`struct evtchn_status.u.unbound`). A field has the same name in C, without a trailing
//! underscore; where that is not so, the C name is given (`pad = "__pad"`).

use crate::c_side::Struct;

/// One row per structure.
pub fn all() -> Vec<Struct> {
    let mut rows = Vec::new();
    structs! { rows, "xen.h", abi::xen [
        "struct mmuext_op" => MmuextOp { cmd, arg1, arg2 },
        "struct mmu_update" => MmuUpdate { ptr, val },
        "struct multicall_entry" => MulticallEntry { op, result, args },
        "struct vcpu_time_info" => VcpuTimeInfo {
            version, pad0, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags, pad1,
        },
        "struct vcpu_info" => VcpuInfo {
            evtchn_upcall_pending, evtchn_upcall_mask, evtchn_pending_sel, arch, time,
        },
        "struct shared_info" => SharedInfo {
            vcpu_info, evtchn_pending, evtchn_mask, wc_version, wc_sec, wc_nsec, wc_sec_hi, arch,
        },
        "struct xen_multiboot_mod_list" => MultibootModList { mod_start, mod_end, cmdline, pad },
        "struct dom0_vga_console_info.u.text_mode_3" => Dom0VgaConsoleInfoTextMode3 {
            font_height, cursor_x, cursor_y, rows, columns,
        },
        "struct dom0_vga_console_info.u.vesa_lfb" => Dom0VgaConsoleInfoVesaLfb {
            width, height, bytes_per_line, bits_per_pixel, lfb_base, lfb_size, red_pos, red_size, green_pos,
            green_size, blue_pos, blue_size, rsvd_pos, rsvd_size, gbl_caps, mode_attrs, pad, ext_lfb_base,
        },
        "struct dom0_vga_console_info" => Dom0VgaConsoleInfo { video_type, u },
        "xen_uuid_t" => Uuid { a },
        "struct xenctl_bitmap" => XenctlBitmap { bitmap, nr_bits },
        "struct start_info" => StartInfo {
            magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console, pt_base, nr_pt_frames,
            mfn_list, mod_start, mod_len, cmd_line, first_p2m_pfn, nr_p2m_frames,
        },
        "struct start_info.console.domU" => StartInfoDomU { mfn, evtchn },
        "struct start_info.console.dom0" => StartInfoDom0 { info_off, info_size },
    ] }
    structs! { rows, "arch-x86/xen-x86_64.h", abi::xen [
        "struct iret_context" => IretContext { rax, r11, rcx, flags, rip, cs, rflags, rsp, ss },
        "struct arch_vcpu_info" => ArchVcpuInfo { cr2, pad },
        "struct cpu_user_regs" => CpuUserRegs {
            r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, error_code, entry_vector,
            rip, cs, _pad0, saved_upcall_mask, _pad1, rflags, rsp, ss, _pad2, es, _pad3, ds, _pad4, fs, _pad5,
            gs, _pad6,
        },
    ] }
    structs! { rows, "arch-x86/xen.h", abi::xen [
        "struct trap_info" => TrapInfo { vector, flags, cs, address },
        "struct vcpu_guest_context.fpu_ctxt" => VcpuGuestContextFpuCtxt { x },
        "struct vcpu_guest_context" => VcpuGuestContext {
            fpu_ctxt, flags, user_regs, trap_ctxt, ldt_base, ldt_ents, gdt_frames, gdt_ents, kernel_ss,
            kernel_sp, ctrlreg, debugreg, event_callback_eip, failsafe_callback_eip, syscall_callback_eip,
            vm_assist, fs_base, gs_base_kernel, gs_base_user,
        },
        "struct arch_shared_info" => ArchSharedInfo {
            max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation,
        },
        "struct xen_arch_domainconfig" => ArchDomainconfig { emulation_flags, misc_flags },
        "struct xen_cpuid_leaf" => CpuidLeaf { leaf, subleaf, a, b, c, d },
        "struct xen_msr_entry" => MsrEntry { idx, flags, val },
    ] }
    structs! { rows, "event_channel.h", abi::event_channel [
        "struct evtchn_alloc_unbound" => EvtchnAllocUnbound { dom, remote_dom, port },
        "struct evtchn_bind_interdomain" => EvtchnBindInterdomain { remote_dom, remote_port, local_port },
        "struct evtchn_bind_virq" => EvtchnBindVirq { virq, vcpu, port },
        "struct evtchn_bind_pirq" => EvtchnBindPirq { pirq, flags, port },
        "struct evtchn_bind_ipi" => EvtchnBindIpi { vcpu, port },
        "struct evtchn_close" => EvtchnClose { port },
        "struct evtchn_send" => EvtchnSend { port },
        "struct evtchn_status.u.unbound" => EvtchnStatusUnbound { dom },
        "struct evtchn_status.u.interdomain" => EvtchnStatusInterdomain { dom, port },
        "struct evtchn_status" => EvtchnStatus { dom, port, status, vcpu, u },
        "struct evtchn_bind_vcpu" => EvtchnBindVcpu { port, vcpu },
        "struct evtchn_unmask" => EvtchnUnmask { port },
        "struct evtchn_reset" => EvtchnReset { dom },
        "struct evtchn_init_control" => EvtchnInitControl { control_gfn, offset, vcpu, link_bits, _pad },
        "struct evtchn_expand_array" => EvtchnExpandArray { array_gfn },
        "struct evtchn_set_priority" => EvtchnSetPriority { port, priority },
        "struct evtchn_op" => EvtchnOp { cmd, u },
        "struct evtchn_fifo_control_block" => EvtchnFifoControlBlock { ready, _rsvd, head },
    ] }
    structs! { rows, "sched.h", abi::sched [
        "struct sched_shutdown" => SchedShutdown { reason },
        "struct sched_poll" => SchedPoll { ports, nr_ports, timeout },
        "struct sched_remote_shutdown" => SchedRemoteShutdown { domain_id, reason },
        "struct sched_watchdog" => SchedWatchdog { id, timeout },
        "struct sched_pin_override" => SchedPinOverride { pcpu },
    ] }
    structs! { rows, "vcpu.h", abi::vcpu [
        "struct vcpu_runstate_info" => VcpuRunstateInfo { state, state_entry_time, time },
        "struct vcpu_register_runstate_memory_area" => VcpuRegisterRunstateMemoryArea { addr },
        "struct vcpu_set_periodic_timer" => VcpuSetPeriodicTimer { period_ns },
        "struct vcpu_set_singleshot_timer" => VcpuSetSingleshotTimer { timeout_abs_ns, flags },
        "struct vcpu_register_vcpu_info" => VcpuRegisterVcpuInfo { mfn, offset, rsvd },
        "struct vcpu_get_physid" => VcpuGetPhysid { phys_id },
        "struct vcpu_register_time_memory_area" => VcpuRegisterTimeMemoryArea { addr },
    ] }
    structs! { rows, "version.h", abi::version [
        "struct xen_compile_info" => CompileInfo { compiler, compile_by, compile_domain, compile_date },
        "struct xen_platform_parameters" => PlatformParameters { virt_start },
        "struct xen_feature_info" => FeatureInfo { submap_idx, submap },
        "struct xen_build_id" => BuildId { len, buf },
    ] }
    structs! { rows, "callback.h", abi::callback [
        "struct callback_register" => CallbackRegister { type_, flags, address },
        "struct callback_unregister" => CallbackUnregister { type_, _unused },
    ] }
    structs! { rows, "nmi.h", abi::nmi [
        "struct xennmi_callback" => XennmiCallback { handler_address, pad },
    ] }
    structs! { rows, "grant_table.h", abi::grant_table [
        "struct grant_entry_v1" => GrantEntryV1 { flags, domid, frame },
        "struct grant_entry_header" => GrantEntryHeader { flags, domid },
        "union grant_entry_v2.full_page" => GrantEntryV2FullPage { hdr, pad0, frame },
        "union grant_entry_v2.sub_page" => GrantEntryV2SubPage { hdr, page_off, length, frame },
        "union grant_entry_v2.transitive" => GrantEntryV2Transitive { hdr, trans_domid, pad0, gref },
        "union grant_entry_v2" => GrantEntryV2 {  },
        "struct gnttab_map_grant_ref" => GnttabMapGrantRef {
            host_addr, flags, ref_, dom, status, handle, dev_bus_addr,
        },
        "struct gnttab_unmap_grant_ref" => GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, status },
        "struct gnttab_setup_table" => GnttabSetupTable { dom, nr_frames, status, frame_list },
        "struct gnttab_dump_table" => GnttabDumpTable { dom, status },
        "struct gnttab_transfer" => GnttabTransfer { mfn, domid, ref_, status },
        "struct gnttab_copy_ptr" => GnttabCopyPtr { u, domid, offset },
        "struct gnttab_copy" => GnttabCopy { source, dest, len, flags, status },
        "struct gnttab_query_size" => GnttabQuerySize { dom, nr_frames, max_nr_frames, status },
        "struct gnttab_unmap_and_replace" => GnttabUnmapAndReplace { host_addr, new_addr, handle, status },
        "struct gnttab_set_version" => GnttabSetVersion { version },
        "struct gnttab_get_status_frames" => GnttabGetStatusFrames { nr_frames, dom, status, frame_list },
        "struct gnttab_get_version" => GnttabGetVersion { dom, pad, version },
        "struct gnttab_swap_grant_ref" => GnttabSwapGrantRef { ref_a, ref_b, status },
        "struct gnttab_cache_flush" => GnttabCacheFlush { a, offset, length, op },
    ] }
    structs! { rows, "memory.h", abi::memory [
        "struct xen_memory_reservation" => MemoryReservation {
            extent_start, nr_extents, extent_order, mem_flags, domid,
        },
        "struct xen_memory_exchange" => MemoryExchange { in_, out, nr_exchanged },
        "struct xen_memory_domain" => MemoryDomain { domid },
        "struct xen_machphys_mfn_list" => MachphysMfnList { max_extents, extent_start, nr_extents },
        "struct xen_machphys_mapping" => MachphysMapping { v_start, v_end, max_mfn },
        "struct xen_add_to_physmap" => AddToPhysmap { domid, size, space, idx, gpfn },
        "struct xen_add_to_physmap_batch" => AddToPhysmapBatch { domid, space, size, u, idxs, gpfns, errs },
        "struct xen_remove_from_physmap" => RemoveFromPhysmap { domid, gpfn },
        "struct xen_memory_map" => MemoryMap { nr_entries, buffer },
        "struct xen_foreign_memory_map" => ForeignMemoryMap { domid, map },
        "struct xen_pod_target" => PodTarget { target_pages, tot_pages, pod_cache_pages, pod_entries, domid },
        "struct xen_mem_paging_op" => MemPagingOp { op, domain, buffer, gfn },
        "struct xen_mem_access_op" => MemAccessOp { op, access, domid, nr, pfn, pfn_list, access_list },
        "struct mem_sharing_op_nominate" => MemSharingOpNominate { u, handle },
        "struct mem_sharing_op_share" => MemSharingOpShare {
            source_gfn, source_handle, client_gfn, client_handle, client_domain,
        },
        "struct mem_sharing_op_range" => MemSharingOpRange {
            first_gfn, last_gfn, opaque, client_domain, _pad,
        },
        "struct mem_sharing_op_debug" => MemSharingOpDebug { u },
        "struct mem_sharing_op_fork" => MemSharingOpFork { parent_domain, flags, pad },
        "struct xen_mem_sharing_op" => MemSharingOp { op, domain, u },
        "struct xen_reserved_device_memory" => ReservedDeviceMemory { start_pfn, nr_pages },
        "struct xen_reserved_device_memory_map" => ReservedDeviceMemoryMap { flags, nr_entries, buffer, dev },
        "struct xen_mem_acquire_resource" => MemAcquireResource {
            domid, type_, id, nr_frames, pad, frame, frame_list,
        },
        "struct xen_vmemrange" => Vmemrange { start, end, flags, nid },
        "struct xen_vnuma_topology_info" => VnumaTopologyInfo {
            domid, pad, nr_vnodes, nr_vcpus, nr_vmemranges, vdistance, vcpu_to_vnode, vmemrange,
        },
    ] }
    structs! { rows, "physdev.h", abi::physdev [
        "struct physdev_eoi" => PhysdevEoi { irq },
        "struct physdev_pirq_eoi_gmfn" => PhysdevPirqEoiGmfn { gmfn },
        "struct physdev_irq_status_query" => PhysdevIrqStatusQuery { irq, flags },
        "struct physdev_set_iopl" => PhysdevSetIopl { iopl },
        "struct physdev_set_iobitmap" => PhysdevSetIobitmap { bitmap, nr_ports },
        "struct physdev_apic" => PhysdevApic { apic_physbase, reg, value },
        "struct physdev_irq" => PhysdevIrq { irq, vector },
        "struct physdev_map_pirq" => PhysdevMapPirq {
            domid, type_, index, pirq, bus, devfn, entry_nr, table_base,
        },
        "struct physdev_unmap_pirq" => PhysdevUnmapPirq { domid, pirq },
        "struct physdev_manage_pci" => PhysdevManagePci { bus, devfn },
        "struct physdev_restore_msi" => PhysdevRestoreMsi { bus, devfn },
        "struct physdev_manage_pci_ext.physfn" => PhysdevManagePciExtPhysfn { bus, devfn },
        "struct physdev_manage_pci_ext" => PhysdevManagePciExt { bus, devfn, is_extfn, is_virtfn, physfn },
        "struct physdev_op" => PhysdevOp { cmd, u },
        "struct physdev_setup_gsi" => PhysdevSetupGsi { gsi, triggering, polarity },
        "struct physdev_get_free_pirq" => PhysdevGetFreePirq { type_, pirq },
        "struct physdev_pci_mmcfg_reserved" => PhysdevPciMmcfgReserved {
            address, segment, start_bus, end_bus, flags,
        },
        "struct physdev_pci_device_add.physfn" => PhysdevPciDeviceAddPhysfn { bus, devfn },
        "struct physdev_pci_device_add" => PhysdevPciDeviceAdd { seg, bus, devfn, flags, physfn, optarr },
        "struct physdev_pci_device" => PhysdevPciDevice { seg, bus, devfn },
        "struct physdev_dbgp_op" => PhysdevDbgpOp { op, bus, u },
    ] }
    structs! { rows, "domctl.h", abi::domctl [
        "struct xen_domctl_createdomain" => DomctlCreatedomain {
            ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames,
            max_maptrack_frames, grant_opts, vmtrace_size, cpupool_id, arch,
        },
        "struct xen_domctl_getdomaininfo" => DomctlGetdomaininfo {
            domain, pad1, flags, tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages,
            shared_info_frame, cpu_time, nr_online_vcpus, max_vcpu_id, ssidref, handle, cpupool, gpaddr_bits,
            pad2, arch_config,
        },
        "struct xen_domctl_getpageframeinfo3" => DomctlGetpageframeinfo3 { num, array },
        "struct xen_domctl_shadow_op_stats" => DomctlShadowOpStats { fault_count, dirty_count },
        "struct xen_domctl_shadow_op" => DomctlShadowOp { op, mode, mb, dirty_bitmap, pages, stats },
        "struct xen_domctl_max_mem" => DomctlMaxMem { max_memkb },
        "struct xen_domctl_vcpucontext" => DomctlVcpucontext { vcpu, ctxt },
        "struct xen_domctl_getvcpuinfo" => DomctlGetvcpuinfo {
            vcpu, online, blocked, running, cpu_time, cpu,
        },
        "struct xen_domctl_nodeaffinity" => DomctlNodeaffinity { nodemap },
        "struct xen_domctl_vcpuaffinity" => DomctlVcpuaffinity { vcpu, flags, cpumap_hard, cpumap_soft },
        "struct xen_domctl_max_vcpus" => DomctlMaxVcpus { max },
        "struct xen_domctl_sched_credit" => DomctlSchedCredit { weight, cap },
        "struct xen_domctl_sched_credit2" => DomctlSchedCredit2 { weight, cap },
        "struct xen_domctl_sched_rtds" => DomctlSchedRtds { period, budget, flags },
        "struct xen_domctl_schedparam_vcpu" => DomctlSchedparamVcpu { u, vcpuid },
        "struct xen_domctl_scheduler_op.u.v" => DomctlSchedulerOpV { vcpus, nr_vcpus, padding },
        "struct xen_domctl_scheduler_op" => DomctlSchedulerOp { sched_id, cmd, u },
        "struct xen_domctl_setdomainhandle" => DomctlSetdomainhandle { handle },
        "struct xen_domctl_setdebugging" => DomctlSetdebugging { enable },
        "struct xen_domctl_irq_permission" => DomctlIrqPermission { pirq, allow_access, pad },
        "struct xen_domctl_iomem_permission" => DomctlIomemPermission { first_mfn, nr_mfns, allow_access },
        "struct xen_domctl_ioport_permission" => DomctlIoportPermission {
            first_port, nr_ports, allow_access,
        },
        "struct xen_domctl_hypercall_init" => DomctlHypercallInit { gmfn },
        "struct xen_domctl_settimeoffset" => DomctlSettimeoffset { time_offset_seconds },
        "struct xen_domctl_hvmcontext" => DomctlHvmcontext { size, buffer },
        "struct xen_domctl_address_size" => DomctlAddressSize { size },
        "struct xen_domctl_sendtrigger" => DomctlSendtrigger { trigger, vcpu },
        "struct xen_domctl_assign_device.u.pci" => DomctlAssignDevicePci { machine_sbdf },
        "struct xen_domctl_assign_device.u.dt" => DomctlAssignDeviceDt { size, path },
        "struct xen_domctl_assign_device" => DomctlAssignDevice { dev, flags, u },
        "struct xen_domctl_get_device_group" => DomctlGetDeviceGroup {
            machine_sbdf, max_sdevs, num_sdevs, sdev_array,
        },
        "struct xen_domctl_bind_pt_irq.u.isa" => DomctlBindPtIrqIsa { isa_irq },
        "struct xen_domctl_bind_pt_irq.u.pci" => DomctlBindPtIrqPci { bus, device, intx },
        "struct xen_domctl_bind_pt_irq.u.msi" => DomctlBindPtIrqMsi { gvec, gflags, gtable },
        "struct xen_domctl_bind_pt_irq.u.spi" => DomctlBindPtIrqSpi { spi },
        "struct xen_domctl_bind_pt_irq" => DomctlBindPtIrq { machine_irq, irq_type, u },
        "struct xen_domctl_memory_mapping" => DomctlMemoryMapping {
            first_gfn, first_mfn, nr_mfns, add_mapping, padding,
        },
        "struct xen_domctl_ioport_mapping" => DomctlIoportMapping {
            first_gport, first_mport, nr_ports, add_mapping,
        },
        "struct xen_domctl_set_target" => DomctlSetTarget { target },
        "struct xen_domctl_cpu_policy" => DomctlCpuPolicy {
            nr_leaves, nr_msrs, leaves, msrs, err_leaf, err_subleaf, err_msr,
        },
        "struct xen_domctl_subscribe" => DomctlSubscribe { port },
        "struct xen_domctl_debug_op" => DomctlDebugOp { op, vcpu },
        "struct xen_domctl_hvmcontext_partial" => DomctlHvmcontextPartial { type_, instance, bufsz, buffer },
        "struct xen_domctl_tsc_info" => DomctlTscInfo { tsc_mode, gtsc_khz, incarnation, pad, elapsed_nsec },
        "struct xen_domctl_gdbsx_memio" => DomctlGdbsxMemio { pgd3val, gva, uva, len, gwr, remain },
        "struct xen_domctl_gdbsx_pauseunp_vcpu" => DomctlGdbsxPauseunpVcpu { vcpu },
        "struct xen_domctl_gdbsx_domstatus" => DomctlGdbsxDomstatus { paused, vcpu_id, vcpu_ev },
        "struct xen_domctl_vm_event_op.u.enable" => DomctlVmEventOpEnable { port },
        "struct xen_domctl_vm_event_op" => DomctlVmEventOp { op, mode, u },
        "struct xen_domctl_mem_sharing_op" => DomctlMemSharingOp { op, u },
        "struct xen_domctl_audit_p2m" => DomctlAuditP2m { orphans, m2p_bad, p2m_bad },
        "struct xen_domctl_set_virq_handler" => DomctlSetVirqHandler { virq },
        "struct xen_domctl_vcpuextstate" => DomctlVcpuextstate { vcpu, xfeature_mask, size, buffer },
        "struct xen_domctl_set_access_required" => DomctlSetAccessRequired { access_required },
        "struct xen_domctl_set_broken_page_p2m" => DomctlSetBrokenPageP2m { pfn },
        "struct xen_domctl_cacheflush" => DomctlCacheflush { start_pfn, nr_pfns },
        "struct xen_domctl_paging_mempool" => DomctlPagingMempool { size },
        "struct xen_domctl_vcpu_msr" => DomctlVcpuMsr { index, reserved, value },
        "struct xen_domctl_vcpu_msrs" => DomctlVcpuMsrs { vcpu, msr_count, msrs },
        "struct xen_domctl_vnuma" => DomctlVnuma {
            nr_vnodes, nr_vmemranges, nr_vcpus, pad, vdistance, vcpu_to_vnode, vnode_to_pnode, vmemrange,
        },
        "struct xen_domctl_psr_cmt_op" => DomctlPsrCmtOp { cmd, data },
        "struct xen_domctl_monitor_op.u.mov_to_cr" => DomctlMonitorOpMovToCr {
            index, sync, onchangeonly, pad1, pad2, bitmask,
        },
        "struct xen_domctl_monitor_op.u.mov_to_msr" => DomctlMonitorOpMovToMsr { msr, onchangeonly },
        "struct xen_domctl_monitor_op.u.guest_request" => DomctlMonitorOpGuestRequest {
            sync, allow_userspace,
        },
        "struct xen_domctl_monitor_op.u.debug_exception" => DomctlMonitorOpDebugException { sync },
        "struct xen_domctl_monitor_op.u.vmexit" => DomctlMonitorOpVmexit { sync },
        "struct xen_domctl_monitor_op" => DomctlMonitorOp { op, event, u },
        "struct xen_domctl_psr_alloc" => DomctlPsrAlloc { cmd, target, data },
        "struct xen_domctl_vuart_op" => DomctlVuartOp { cmd, type_, gfn, console_domid, pad, evtchn },
        "struct xen_domctl_vmtrace_op" => DomctlVmtraceOp { cmd, vcpu, key, value },
        "struct xen_domctl" => Domctl { cmd, interface_version, domain, _pad, u },
        "struct xen_domctl_ext_vcpucontext" => DomctlExtVcpucontext {
            vcpu, size, syscall32_callback_eip, sysenter_callback_eip, syscall32_callback_cs,
            sysenter_callback_cs, syscall32_disables_events, sysenter_disables_events, mcg_cap,
            mci_ctl2_bank0 = "vmce.mci_ctl2_bank0", mci_ctl2_bank1 = "vmce.mci_ctl2_bank1",
            mcg_ext_ctl = "vmce.mcg_ext_ctl",
        },
    ] }
    structs! { rows, "sysctl.h", abi::sysctl [
        "struct xen_sysctl_readconsole" => SysctlReadconsole {
            clear, incremental, pad0, pad1, index, buffer, count,
        },
        "struct xen_sysctl_tbuf_op" => SysctlTbufOp { cmd, cpu_mask, evt_mask, buffer_mfn, size },
        "struct xen_sysctl_physinfo" => SysctlPhysinfo {
            threads_per_core, cores_per_socket, nr_cpus, max_cpu_id, nr_nodes, max_node_id, cpu_khz,
            capabilities, arch_capabilities, pad, total_pages, free_pages, scrub_pages, outstanding_pages,
            max_mfn, hw_cap,
        },
        "struct xen_sysctl_sched_id" => SysctlSchedId { sched_id },
        "struct xen_sysctl_perfc_desc" => SysctlPerfcDesc { name, nr_vals },
        "struct xen_sysctl_perfc_op" => SysctlPerfcOp { cmd, nr_counters, nr_vals, desc, val },
        "struct xen_sysctl_getdomaininfolist" => SysctlGetdomaininfolist {
            first_domain, max_domains, buffer, num_domains,
        },
        "struct xen_sysctl_debug_keys" => SysctlDebugKeys { keys, nr_keys },
        "struct xen_sysctl_cpuinfo" => SysctlCpuinfo { idletime },
        "struct xen_sysctl_getcpuinfo" => SysctlGetcpuinfo { max_cpus, info, nr_cpus },
        "struct xen_sysctl_availheap" => SysctlAvailheap { min_bitwidth, max_bitwidth, node, avail_bytes },
        "struct pm_px_val" => PmPxVal { freq, residency, count },
        "struct pm_px_stat" => PmPxStat { total, usable, last, cur, trans_pt, pt },
        "struct pm_cx_stat" => PmCxStat { nr, last, idle_time, triggers, residencies, nr_pc, nr_cc, pc, cc },
        "struct xen_sysctl_get_pmstat" => SysctlGetPmstat { type_, cpuid, u },
        "struct xen_sysctl_cpu_hotplug" => SysctlCpuHotplug { cpu, op },
        "struct xen_userspace" => Userspace { scaling_setspeed },
        "struct xen_ondemand" => Ondemand {
            sampling_rate_max, sampling_rate_min, sampling_rate, up_threshold,
        },
        "struct xen_get_cpufreq_para" => GetCpufreqPara {
            cpu_num, freq_num, gov_num, affected_cpus, scaling_available_frequencies,
            scaling_available_governors, scaling_driver, cpuinfo_cur_freq, cpuinfo_max_freq, cpuinfo_min_freq,
            scaling_cur_freq, scaling_governor, scaling_max_freq, scaling_min_freq, u, turbo_enabled,
        },
        "struct xen_set_cpufreq_gov" => SetCpufreqGov { scaling_governor },
        "struct xen_set_cpufreq_para" => SetCpufreqPara { ctrl_type, ctrl_value },
        "struct xen_sysctl_pm_op" => SysctlPmOp { cmd, cpuid, u },
        "struct xen_sysctl_page_offline_op" => SysctlPageOfflineOp { cmd, start, end, status },
        "struct xen_sysctl_lockprof_data" => SysctlLockprofData {
            name, type_, idx, lock_cnt, block_cnt, lock_time, block_time,
        },
        "struct xen_sysctl_lockprof_op" => SysctlLockprofOp { cmd, max_elem, nr_elem, time, data },
        "struct xen_sysctl_cputopo" => SysctlCputopo { core, socket, node },
        "struct xen_sysctl_cputopoinfo" => SysctlCputopoinfo { num_cpus, cputopo },
        "struct xen_sysctl_meminfo" => SysctlMeminfo { memsize, memfree },
        "struct xen_sysctl_numainfo" => SysctlNumainfo { num_nodes, meminfo, distance },
        "struct xen_sysctl_cpupool_op" => SysctlCpupoolOp {
            op, cpupool_id, sched_id, domid, cpu, n_dom, cpumap,
        },
        "struct xen_sysctl_arinc653_schedule.sched_entries[0]" => SysctlArinc653ScheduleSchedEntries {
            dom_handle, vcpu_id, runtime,
        },
        "struct xen_sysctl_arinc653_schedule" => SysctlArinc653Schedule {
            major_frame, num_sched_entries, sched_entries,
        },
        "struct xen_sysctl_credit_schedule" => SysctlCreditSchedule {
            tslice_ms, ratelimit_us, vcpu_migr_delay_us,
        },
        "struct xen_sysctl_credit2_schedule" => SysctlCredit2Schedule { ratelimit_us },
        "struct xen_sysctl_sched_arinc653" => SysctlSchedArinc653 { schedule },
        "struct xen_sysctl_scheduler_op" => SysctlSchedulerOp { cpupool_id, sched_id, cmd, u },
        "struct xen_sysctl_coverage_op" => SysctlCoverageOp { cmd, size, buffer },
        "struct xen_sysctl_psr_cmt_op.u.l3_cache" => SysctlPsrCmtOpL3Cache { cpu, rsvd },
        "struct xen_sysctl_psr_cmt_op" => SysctlPsrCmtOp { cmd, flags, u },
        "struct xen_sysctl_pcitopoinfo" => SysctlPcitopoinfo { num_devs, devs, nodes },
        "struct xen_sysctl_psr_alloc.u.cat_info" => SysctlPsrAllocCatInfo { cbm_len, cos_max, flags },
        "struct xen_sysctl_psr_alloc.u.mba_info" => SysctlPsrAllocMbaInfo { thrtl_max, cos_max, flags },
        "struct xen_sysctl_psr_alloc" => SysctlPsrAlloc { cmd, target, u },
        "struct xen_sysctl_cpu_levelling_caps" => SysctlCpuLevellingCaps { caps },
        "struct xen_sysctl_cpu_featureset" => SysctlCpuFeatureset { index, nr_features, features },
        "struct xen_livepatch_name" => LivepatchName { name, size, pad },
        "struct xen_sysctl_livepatch_upload" => SysctlLivepatchUpload { name, size, payload },
        "struct xen_livepatch_status" => LivepatchStatus { state, rc },
        "struct xen_sysctl_livepatch_get" => SysctlLivepatchGet { name, status },
        "struct xen_sysctl_livepatch_list" => SysctlLivepatchList {
            version, idx, nr, pad, name_total_size, metadata_total_size, status, name, len, metadata,
            metadata_len,
        },
        "struct xen_sysctl_livepatch_action" => SysctlLivepatchAction { name, cmd, timeout, flags, pad },
        "struct xen_sysctl_livepatch_op" => SysctlLivepatchOp { cmd, pad, u },
        "struct xen_sysctl_cpu_policy" => SysctlCpuPolicy { index, nr_leaves, nr_msrs, _rsvd, leaves, msrs },
        "struct xen_sysctl" => Sysctl { cmd, interface_version, u },
    ] }
    structs! { rows, "platform.h", abi::platform [
        "struct xenpf_settime32" => XenpfSettime32 { secs, nsecs, system_time },
        "struct xenpf_settime64" => XenpfSettime64 { secs, nsecs, mbz, system_time },
        "struct xenpf_add_memtype" => XenpfAddMemtype { mfn, nr_mfns, type_, handle, reg },
        "struct xenpf_del_memtype" => XenpfDelMemtype { handle, reg },
        "struct xenpf_read_memtype" => XenpfReadMemtype { reg, mfn, nr_mfns, type_ },
        "struct xenpf_microcode_update" => XenpfMicrocodeUpdate { data, length },
        "struct xenpf_platform_quirk" => XenpfPlatformQuirk { quirk_id },
        "struct xenpf_efi_time" => XenpfEfiTime { year, month, day, hour, min, sec, ns, tz, daylight },
        "struct xenpf_efi_guid" => XenpfEfiGuid { data1, data2, data3, data4 },
        "struct xenpf_efi_runtime_call.u.get_time" => XenpfEfiRuntimeCallGetTime {
            time, resolution, accuracy,
        },
        "struct xenpf_efi_runtime_call.u.get_variable" => XenpfEfiRuntimeCallGetVariable {
            name, size, data, vendor_guid,
        },
        "struct xenpf_efi_runtime_call.u.get_next_variable_name" => XenpfEfiRuntimeCallGetNextVariableName {
            size, name, vendor_guid,
        },
        "struct xenpf_efi_runtime_call.u.query_variable_info" => XenpfEfiRuntimeCallQueryVariableInfo {
            attr, max_store_size, remain_store_size, max_size,
        },
        "struct xenpf_efi_runtime_call.u.query_capsule_capabilities" => XenpfEfiRuntimeCallQueryCapsuleCapabilities {
            capsule_header_array, capsule_count, max_capsule_size, reset_type,
        },
        "struct xenpf_efi_runtime_call.u.update_capsule" => XenpfEfiRuntimeCallUpdateCapsule {
            capsule_header_array, capsule_count, sg_list,
        },
        "struct xenpf_efi_runtime_call" => XenpfEfiRuntimeCall { function, misc, status, u },
        "struct xenpf_firmware_info.u.disk_info" => XenpfFirmwareInfoDiskInfo {
            device, version, interface_support, legacy_max_cylinder, legacy_max_head,
            legacy_sectors_per_track, edd_params,
        },
        "struct xenpf_firmware_info.u.disk_mbr_signature" => XenpfFirmwareInfoDiskMbrSignature {
            device, mbr_signature,
        },
        "struct xenpf_firmware_info.u.vbeddc_info" => XenpfFirmwareInfoVbeddcInfo {
            capabilities, edid_transfer_time, edid,
        },
        "union xenpf_efi_info.cfg" => XenpfFirmwareInfoCfg { addr, nent },
        "union xenpf_efi_info.vendor" => XenpfFirmwareInfoVendor { revision, bufsz, name },
        "union xenpf_efi_info.mem" => XenpfFirmwareInfoMem { addr, size, attr, type_ },
        "union xenpf_efi_info.pci_rom" => XenpfFirmwareInfoPciRom {
            segment, bus, devfn, vendor, devid, address, size,
        },
        "union xenpf_efi_info.apple_properties" => XenpfFirmwareInfoAppleProperties { address, size },
        "union xenpf_efi_info" => XenpfEfiInfo {  },
        "struct xenpf_firmware_info" => XenpfFirmwareInfo { type_, index, u },
        "struct xenpf_enter_acpi_sleep" => XenpfEnterAcpiSleep { val_a, val_b, sleep_state, flags },
        "struct xenpf_change_freq" => XenpfChangeFreq { flags, cpu, freq },
        "struct xenpf_getidletime" => XenpfGetidletime { cpumap_bitmap, cpumap_nr_cpus, idletime, now },
        "struct xen_power_register" => PowerRegister {
            space_id, bit_width, bit_offset, access_size, address,
        },
        "struct xen_processor_csd" => ProcessorCsd { domain, coord_type, num },
        "struct xen_processor_cx" => ProcessorCx { reg, type_, latency, power, dpcnt, dp },
        "struct xen_processor_power" => ProcessorPower { count, flags, states },
        "struct xen_pct_register" => PctRegister {
            descriptor, length, space_id, bit_width, bit_offset, reserved, address,
        },
        "struct xen_processor_px" => ProcessorPx {
            core_frequency, power, transition_latency, bus_master_latency, control, status,
        },
        "struct xen_psd_package" => PsdPackage { num_entries, revision, domain, coord_type, num_processors },
        "struct xen_processor_performance" => ProcessorPerformance {
            flags, platform_limit, control_register, status_register, state_count, states, domain_info,
            shared_type,
        },
        "struct xenpf_set_processor_pminfo" => XenpfSetProcessorPminfo { id, type_, u },
        "struct xenpf_pcpuinfo" => XenpfPcpuinfo { xen_cpuid, max_present, flags, apic_id, acpi_id },
        "struct xenpf_pcpu_version" => XenpfPcpuVersion {
            xen_cpuid, max_present, vendor_id, family, model, stepping,
        },
        "struct xenpf_cpu_ol" => XenpfCpuOl { cpuid },
        "struct xenpf_cpu_hotadd" => XenpfCpuHotadd { apic_id, acpi_id, pxm },
        "struct xenpf_mem_hotadd" => XenpfMemHotadd { spfn, epfn, pxm, flags },
        "struct xenpf_core_parking" => XenpfCoreParking { type_, idle_nums },
        "struct xenpf_resource_entry" => XenpfResourceEntry { u, rsvd, idx, val },
        "struct xenpf_resource_op" => XenpfResourceOp { nr_entries, cpu, entries },
        "struct xenpf_symdata" => XenpfSymdata { namelen, symnum, name, address, type_ },
        "struct xen_platform_op" => PlatformOp { cmd, interface_version, u },
        "struct xen_processor_flags" => ProcessorFlags {  },
    ] }
    structs! { rows, "io/console.h", abi::io::console [
        "struct xencons_interface" => XenconsInterface { in_, out, in_cons, in_prod, out_cons, out_prod },
    ] }
    structs! { rows, "io/xs_wire.h", abi::io::xs_wire [
        "struct xsd_sockmsg" => XsdSockmsg { type_, req_id, tx_id, len },
        "struct xenstore_domain_interface" => XenstoreDomainInterface {
            req, rsp, req_cons, req_prod, rsp_cons, rsp_prod, server_features, connection, error,
        },
    ] }
    structs! { rows, "io/blkif.h", abi::io::blkif [
        "struct blkif_request_segment" => BlkifRequestSegment { gref, first_sect, last_sect },
        "struct blkif_request" => BlkifRequest { operation, nr_segments, handle, id, sector_number, seg },
        "struct blkif_request_discard" => BlkifRequestDiscard {
            operation, flag, handle, id, sector_number, nr_sectors,
        },
        "struct blkif_request_indirect" => BlkifRequestIndirect {
            operation, indirect_op, nr_segments, id, sector_number, handle, indirect_grefs,
        },
        "struct blkif_response" => BlkifResponse { id, operation, status },
    ] }
    structs! { rows, "io/netif.h", abi::io::netif [
        "struct xen_netif_ctrl_request" => NetifCtrlRequest { id, type_, data },
        "struct xen_netif_ctrl_response" => NetifCtrlResponse { id, type_, status, data },
        "struct xen_netif_gref" => NetifGref { ref_, flags, status },
        "struct netif_tx_request" => NetifTxRequest { gref, offset, flags, id, size },
        "struct netif_extra_info.u.gso" => NetifExtraInfoGso { size, type_, pad, features },
        "struct netif_extra_info.u.mcast" => NetifExtraInfoMcast { addr },
        "struct netif_extra_info.u.hash" => NetifExtraInfoHash { type_, algorithm, value },
        "struct netif_extra_info" => NetifExtraInfo { type_, flags, u },
        "struct netif_tx_response" => NetifTxResponse { id, status },
        "struct netif_rx_request" => NetifRxRequest { id, pad, gref },
        "struct netif_rx_response" => NetifRxResponse { id, offset, flags, status },
    ] }
    structs! { rows, "hvm/hvm_op.h", abi::hvm_op [
        "struct xen_hvm_param" => HvmParam { domid, pad, index, value },
        "struct xen_hvm_altp2m_suppress_ve" => HvmAltp2mSuppressVe { view, suppress_ve, pad1, pad2, gfn },
        "struct xen_hvm_altp2m_suppress_ve_multi" => HvmAltp2mSuppressVeMulti {
            view, suppress_ve, pad1, first_error, first_gfn, last_gfn, first_error_gfn,
        },
        "struct xen_hvm_pagetable_dying" => HvmPagetableDying { domid, pad, gpa },
        "struct xen_hvm_get_time" => HvmGetTime { now },
        "struct xen_hvm_xentrace" => HvmXentrace { event, extra_bytes, extra },
        "struct xen_hvm_get_mem_type" => HvmGetMemType { domid, mem_type, pad, pfn },
        "struct xen_hvm_evtchn_upcall_vector" => HvmEvtchnUpcallVector { vcpu, vector },
        "struct xen_hvm_altp2m_domain_state" => HvmAltp2mDomainState { state },
        "struct xen_hvm_altp2m_vcpu_enable_notify" => HvmAltp2mVcpuEnableNotify { vcpu_id, pad, gfn },
        "struct xen_hvm_altp2m_vcpu_disable_notify" => HvmAltp2mVcpuDisableNotify { vcpu_id },
        "struct xen_hvm_altp2m_view" => HvmAltp2mView { view, hvmmem_default_access },
        "struct xen_hvm_altp2m_mem_access" => HvmAltp2mMemAccess { view, access, pad, gfn },
        "struct xen_hvm_altp2m_set_mem_access_multi" => HvmAltp2mSetMemAccessMulti {
            view, pad, nr, opaque, pfn_list, access_list,
        },
        "struct xen_hvm_altp2m_change_gfn" => HvmAltp2mChangeGfn { view, pad1, pad2, old_gfn, new_gfn },
        "struct xen_hvm_altp2m_get_vcpu_p2m_idx" => HvmAltp2mGetVcpuP2mIdx { vcpu_id, altp2m_idx },
        "struct xen_hvm_altp2m_set_visibility" => HvmAltp2mSetVisibility { altp2m_idx, visible, pad },
        "struct xen_hvm_altp2m_op" => HvmAltp2mOp { version, cmd, domain, pad1, pad2, u },
    ] }
    structs! { rows, "hvm/dm_op.h", abi::dm_op [
        "struct xen_dm_op_create_ioreq_server" => DmOpCreateIoreqServer { handle_bufioreq, pad, id },
        "struct xen_dm_op_get_ioreq_server_info" => DmOpGetIoreqServerInfo {
            id, flags, bufioreq_port, ioreq_gfn, bufioreq_gfn,
        },
        "struct xen_dm_op_ioreq_server_range" => DmOpIoreqServerRange { id, pad, type_, start, end },
        "struct xen_dm_op_set_ioreq_server_state" => DmOpSetIoreqServerState { id, enabled, pad },
        "struct xen_dm_op_destroy_ioreq_server" => DmOpDestroyIoreqServer { id, pad },
        "struct xen_dm_op_track_dirty_vram" => DmOpTrackDirtyVram { nr, pad, first_pfn },
        "struct xen_dm_op_set_pci_intx_level" => DmOpSetPciIntxLevel { domain, bus, device, intx, level },
        "struct xen_dm_op_set_isa_irq_level" => DmOpSetIsaIrqLevel { isa_irq, level },
        "struct xen_dm_op_set_pci_link_route" => DmOpSetPciLinkRoute { link, isa_irq },
        "struct xen_dm_op_modified_memory" => DmOpModifiedMemory { nr_extents, opaque },
        "struct xen_dm_op_modified_memory_extent" => DmOpModifiedMemoryExtent { nr, pad, first_pfn },
        "struct xen_dm_op_set_mem_type" => DmOpSetMemType { nr, mem_type, pad, first_pfn },
        "struct xen_dm_op_inject_event" => DmOpInjectEvent {
            vcpuid, vector, type_, insn_len, pad0, error_code, pad1, cr2,
        },
        "struct xen_dm_op_inject_msi" => DmOpInjectMsi { data, pad, addr },
        "struct xen_dm_op_map_mem_type_to_ioreq_server" => DmOpMapMemTypeToIoreqServer {
            id, type_, flags, opaque,
        },
        "struct xen_dm_op_remote_shutdown" => DmOpRemoteShutdown { reason },
        "struct xen_dm_op_relocate_memory" => DmOpRelocateMemory { size, pad, src_gfn, dst_gfn },
        "struct xen_dm_op_pin_memory_cacheattr" => DmOpPinMemoryCacheattr { start, end, type_, pad },
        "struct xen_dm_op_set_irq_level" => DmOpSetIrqLevel { irq, level, pad },
        "struct xen_dm_op_nr_vcpus" => DmOpNrVcpus { vcpus },
        "struct xen_dm_op" => DmOp { op, pad, u },
        "struct xen_dm_op_buf" => DmOpBuf { h, size },
    ] }
    structs! { rows, "hvm/hvm_vcpu.h", abi::hvm_vcpu [
        "struct vcpu_hvm_x86_32" => VcpuHvmX8632 {
            eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, cr0, cr3, cr4, pad1, efer, cs_base, ds_base,
            ss_base, es_base, tr_base, cs_limit, ds_limit, ss_limit, es_limit, tr_limit, cs_ar, ds_ar, ss_ar,
            es_ar, tr_ar, pad2,
        },
        "struct vcpu_hvm_x86_64" => VcpuHvmX8664 {
            rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer,
        },
        "struct vcpu_hvm_context" => VcpuHvmContext { mode, pad, cpu_regs },
    ] }
    structs! { rows, "arch-x86/hvm/start_info.h", abi::hvm_start_info [
        "struct hvm_start_info" => HvmStartInfo {
            magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr,
            memmap_entries, reserved,
        },
        "struct hvm_modlist_entry" => HvmModlistEntry { paddr, size, cmdline_paddr, reserved },
        "struct hvm_memmap_table_entry" => HvmMemmapTableEntry { addr, size, type_, reserved },
    ] }
    structs! { rows, "xsm/flask_op.h", abi::xsm [
        "struct xen_flask_load" => FlaskLoad { buffer, size },
        "struct xen_flask_setenforce" => FlaskSetenforce { enforcing },
        "struct xen_flask_sid_context" => FlaskSidContext { sid, size, context },
        "struct xen_flask_access" => FlaskAccess {
            ssid, tsid, tclass, req, allowed, audit_allow, audit_deny, seqno,
        },
        "struct xen_flask_transition" => FlaskTransition { ssid, tsid, tclass, newsid },
        "struct xen_flask_boolean" => FlaskBoolean {
            bool_id, enforcing, pending, new_value, commit, size, name,
        },
        "struct xen_flask_setavc_threshold" => FlaskSetavcThreshold { threshold },
        "struct xen_flask_hash_stats" => FlaskHashStats {
            entries, buckets_used, buckets_total, max_chain_len,
        },
        "struct xen_flask_cache_stats" => FlaskCacheStats {
            cpu, lookups, hits, misses, allocations, reclaims, frees,
        },
        "struct xen_flask_ocontext" => FlaskOcontext { ocon, sid, low, high },
        "struct xen_flask_peersid" => FlaskPeersid { evtchn, sid },
        "struct xen_flask_relabel" => FlaskRelabel { domid, sid },
        "struct xen_flask_devicetree_label" => FlaskDevicetreeLabel { sid, length, path },
        "struct xen_flask_op" => FlaskOp { cmd, interface_version, u },
    ] }
    structs! { rows, "hypfs.h", abi::hypfs [
        "struct xen_hypfs_direntry" => HypfsDirentry { type_, encoding, pad, content_len, max_write_len },
        "struct xen_hypfs_dirlistentry" => HypfsDirlistentry { e, off_next, name },
    ] }
    structs! { rows, "kexec.h", abi::kexec [
        "struct xen_kexec_image" => KexecImage { page_list, indirection_page, start_address },
        "struct xen_kexec_exec" => KexecExec { type_ },
        "struct xen_kexec_load_v1" => KexecLoadV1 { type_, image },
        "struct xen_kexec_range" => KexecRange { range, nr, size, start },
        "struct xen_kexec_segment" => KexecSegment { buf, buf_size, dest_maddr, dest_size },
        "struct xen_kexec_load" => KexecLoad { type_, _pad, arch, nr_segments, segments, entry_maddr },
        "struct xen_kexec_unload" => KexecUnload { type_ },
        "struct xen_kexec_status" => KexecStatus { type_ },
    ] }
    structs! { rows, "xenoprof.h", abi::xenoprof [
        "struct event_log" => EventLog { eip, mode, event },
        "struct xenoprof_buf" => XenoprofBuf {
            event_head, event_tail, event_size, vcpu_id, xen_samples, kernel_samples, user_samples,
            lost_samples, event_log,
        },
        "struct xenoprof_init" => XenoprofInit { num_events, is_primary, cpu_type },
        "struct xenoprof_get_buffer" => XenoprofGetBuffer { max_samples, nbuf, bufsize, buf_gmaddr },
        "struct xenoprof_counter" => XenoprofCounter {
            ind, count, enabled, event, hypervisor, kernel, user, unit_mask,
        },
        "struct xenoprof_passive" => XenoprofPassive { domain_id, max_samples, nbuf, bufsize, buf_gmaddr },
        "struct xenoprof_ibs_counter" => XenoprofIbsCounter {
            op_enabled, fetch_enabled, max_cnt_fetch, max_cnt_op, rand_en, dispatched_ops,
        },
    ] }
    structs! { rows, "argo.h", abi::argo [
        "struct xen_argo_iov" => ArgoIov { iov_hnd, iov_len, pad },
        "struct xen_argo_addr" => ArgoAddr { aport, domain_id, pad },
        "struct xen_argo_send_addr" => ArgoSendAddr { src, dst },
        "struct xen_argo_ring" => ArgoRing { rx_ptr, tx_ptr, reserved, ring },
        "struct xen_argo_register_ring" => ArgoRegisterRing { aport, partner_id, pad, len },
        "struct xen_argo_unregister_ring" => ArgoUnregisterRing { aport, partner_id, pad },
        "struct xen_argo_ring_data_ent" => ArgoRingDataEnt {
            ring, flags, pad, space_required, max_message_size,
        },
        "struct xen_argo_ring_data" => ArgoRingData { nent, pad, data },
        "struct xen_argo_ring_message_header" => ArgoRingMessageHeader { len, source, message_type, data },
    ] }
    rows
}
