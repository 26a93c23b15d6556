//! Operations of every guest.

use super::Op;

/// Kinds of update of `mmu_update`, xen.h.
pub const MMU_UPDATE: &[Op] = &[
    (0, "MMU_NORMAL_PT_UPDATE"),
    (1, "MMU_MACHPHYS_UPDATE"),
    (2, "MMU_PT_UPDATE_PRESERVE_AD"),
    (3, "MMU_PT_UPDATE_NO_TRANSLATE"),
];

/// `MMUEXT_*`, xen.h.
pub const MMUEXT: &[Op] = &[
    (0, "MMUEXT_PIN_L1_TABLE"),
    (1, "MMUEXT_PIN_L2_TABLE"),
    (2, "MMUEXT_PIN_L3_TABLE"),
    (3, "MMUEXT_PIN_L4_TABLE"),
    (4, "MMUEXT_UNPIN_TABLE"),
    (5, "MMUEXT_NEW_BASEPTR"),
    (6, "MMUEXT_TLB_FLUSH_LOCAL"),
    (7, "MMUEXT_INVLPG_LOCAL"),
    (8, "MMUEXT_TLB_FLUSH_MULTI"),
    (9, "MMUEXT_INVLPG_MULTI"),
    (10, "MMUEXT_TLB_FLUSH_ALL"),
    (11, "MMUEXT_INVLPG_ALL"),
    (12, "MMUEXT_FLUSH_CACHE"),
    (13, "MMUEXT_SET_LDT"),
    (15, "MMUEXT_NEW_USER_BASEPTR"),
    (16, "MMUEXT_CLEAR_PAGE"),
    (17, "MMUEXT_COPY_PAGE"),
    (18, "MMUEXT_FLUSH_CACHE_GLOBAL"),
    (19, "MMUEXT_MARK_SUPER"),
    (20, "MMUEXT_UNMARK_SUPER"),
];

/// `XENMEM_*`, memory.h.
pub const MEMORY: &[Op] = &[
    (0, "XENMEM_increase_reservation"),
    (1, "XENMEM_decrease_reservation"),
    (2, "XENMEM_maximum_ram_page"),
    (3, "XENMEM_current_reservation"),
    (4, "XENMEM_maximum_reservation"),
    (5, "XENMEM_machphys_mfn_list"),
    (6, "XENMEM_populate_physmap"),
    (7, "XENMEM_add_to_physmap"),
    (9, "XENMEM_memory_map"),
    (10, "XENMEM_machine_memory_map"),
    (11, "XENMEM_exchange"),
    (12, "XENMEM_machphys_mapping"),
    (13, "XENMEM_set_memory_map"),
    (14, "XENMEM_maximum_gpfn"),
    (15, "XENMEM_remove_from_physmap"),
    (16, "XENMEM_set_pod_target"),
    (17, "XENMEM_get_pod_target"),
    (18, "XENMEM_get_sharing_freed_pages"),
    (19, "XENMEM_get_sharing_shared_pages"),
    (20, "XENMEM_paging_op"),
    (21, "XENMEM_access_op"),
    (22, "XENMEM_sharing_op"),
    (23, "XENMEM_add_to_physmap_batch"),
    (24, "XENMEM_claim_pages"),
    (25, "XENMEM_machphys_compat_mfn_list"),
    (26, "XENMEM_get_vnumainfo"),
    (27, "XENMEM_reserved_device_memory_map"),
    (28, "XENMEM_acquire_resource"),
];

/// `XENVER_*`, version.h.
pub const VERSION: &[Op] = &[
    (0, "XENVER_version"),
    (1, "XENVER_extraversion"),
    (2, "XENVER_compile_info"),
    (3, "XENVER_capabilities"),
    (4, "XENVER_changeset"),
    (5, "XENVER_platform_parameters"),
    (6, "XENVER_get_features"),
    (7, "XENVER_pagesize"),
    (8, "XENVER_guest_handle"),
    (9, "XENVER_commandline"),
    (10, "XENVER_build_id"),
];

/// `CONSOLEIO_*`, xen.h.
pub const CONSOLE: &[Op] = &[(0, "CONSOLEIO_write"), (1, "CONSOLEIO_read")];

/// `SCHEDOP_*`, sched.h.
pub const SCHED: &[Op] = &[
    (0, "SCHEDOP_yield"),
    (1, "SCHEDOP_block"),
    (2, "SCHEDOP_shutdown"),
    (3, "SCHEDOP_poll"),
    (4, "SCHEDOP_remote_shutdown"),
    (5, "SCHEDOP_shutdown_code"),
    (6, "SCHEDOP_watchdog"),
    (7, "SCHEDOP_pin_override"),
];

/// `VCPUOP_*`, vcpu.h.
pub const VCPU: &[Op] = &[
    (0, "VCPUOP_initialise"),
    (1, "VCPUOP_up"),
    (2, "VCPUOP_down"),
    (3, "VCPUOP_is_up"),
    (4, "VCPUOP_get_runstate_info"),
    (5, "VCPUOP_register_runstate_memory_area"),
    (6, "VCPUOP_set_periodic_timer"),
    (7, "VCPUOP_stop_periodic_timer"),
    (8, "VCPUOP_set_singleshot_timer"),
    (9, "VCPUOP_stop_singleshot_timer"),
    (10, "VCPUOP_register_vcpu_info"),
    (11, "VCPUOP_send_nmi"),
    (12, "VCPUOP_get_physid"),
    (13, "VCPUOP_register_vcpu_time_memory_area"),
];

/// `EVTCHNOP_*`, event_channel.h.
pub const EVENT_CHANNEL: &[Op] = &[
    (0, "EVTCHNOP_bind_interdomain"),
    (1, "EVTCHNOP_bind_virq"),
    (2, "EVTCHNOP_bind_pirq"),
    (3, "EVTCHNOP_close"),
    (4, "EVTCHNOP_send"),
    (5, "EVTCHNOP_status"),
    (6, "EVTCHNOP_alloc_unbound"),
    (7, "EVTCHNOP_bind_ipi"),
    (8, "EVTCHNOP_bind_vcpu"),
    (9, "EVTCHNOP_unmask"),
    (10, "EVTCHNOP_reset"),
    (11, "EVTCHNOP_init_control"),
    (12, "EVTCHNOP_expand_array"),
    (13, "EVTCHNOP_set_priority"),
    (14, "EVTCHNOP_reset_cont"),
];

/// `GNTTABOP_*`, grant_table.h.
pub const GRANT_TABLE: &[Op] = &[
    (0, "GNTTABOP_map_grant_ref"),
    (1, "GNTTABOP_unmap_grant_ref"),
    (2, "GNTTABOP_setup_table"),
    (3, "GNTTABOP_dump_table"),
    (4, "GNTTABOP_transfer"),
    (5, "GNTTABOP_copy"),
    (6, "GNTTABOP_query_size"),
    (7, "GNTTABOP_unmap_and_replace"),
    (8, "GNTTABOP_set_version"),
    (9, "GNTTABOP_get_status_frames"),
    (10, "GNTTABOP_get_version"),
    (11, "GNTTABOP_swap_grant_ref"),
    (12, "GNTTABOP_cache_flush"),
];

/// `PHYSDEVOP_*`, physdev.h.
pub const PHYSDEV: &[Op] = &[
    (4, "PHYSDEVOP_IRQ_UNMASK_NOTIFY"),
    (5, "PHYSDEVOP_irq_status_query"),
    (6, "PHYSDEVOP_set_iopl"),
    (7, "PHYSDEVOP_set_iobitmap"),
    (8, "PHYSDEVOP_apic_read"),
    (9, "PHYSDEVOP_apic_write"),
    (10, "PHYSDEVOP_alloc_irq_vector"),
    (11, "PHYSDEVOP_free_irq_vector"),
    (12, "PHYSDEVOP_eoi"),
    (13, "PHYSDEVOP_map_pirq"),
    (14, "PHYSDEVOP_unmap_pirq"),
    (15, "PHYSDEVOP_manage_pci_add"),
    (16, "PHYSDEVOP_manage_pci_remove"),
    (17, "PHYSDEVOP_pirq_eoi_gmfn_v1"),
    (19, "PHYSDEVOP_restore_msi"),
    (20, "PHYSDEVOP_manage_pci_add_ext"),
    (21, "PHYSDEVOP_setup_gsi"),
    (23, "PHYSDEVOP_get_free_pirq"),
    (24, "PHYSDEVOP_pci_mmcfg_reserved"),
    (25, "PHYSDEVOP_pci_device_add"),
    (26, "PHYSDEVOP_pci_device_remove"),
    (27, "PHYSDEVOP_restore_msi_ext"),
    (28, "PHYSDEVOP_pirq_eoi_gmfn_v2"),
    (29, "PHYSDEVOP_dbgp_op"),
    (30, "PHYSDEVOP_prepare_msix"),
    (31, "PHYSDEVOP_release_msix"),
];

/// `CALLBACKOP_*`, callback.h.
pub const CALLBACK: &[Op] = &[(0, "CALLBACKOP_register"), (1, "CALLBACKOP_unregister")];

/// `VMASST_TYPE_*`, xen.h.
pub const VM_ASSIST: &[Op] = &[
    (0, "VMASST_TYPE_4gb_segments"),
    (1, "VMASST_TYPE_4gb_segments_notify"),
    (2, "VMASST_TYPE_writable_pagetables"),
    (3, "VMASST_TYPE_pae_extended_cr3"),
    (4, "VMASST_TYPE_architectural_iopl"),
    (5, "VMASST_TYPE_runstate_update_flag"),
    (32, "VMASST_TYPE_m2p_strict"),
];

/// `SEGBASE_*`, arch-x86/xen-x86_64.h.
pub const SEGMENT_BASE: &[Op] =
    &[(0, "SEGBASE_FS"), (1, "SEGBASE_GS_USER"), (2, "SEGBASE_GS_KERNEL"), (3, "SEGBASE_GS_USER_SEL")];

/// `XENNMI_*`, nmi.h.
pub const NMI: &[Op] = &[(0, "XENNMI_register_callback"), (1, "XENNMI_unregister_callback")];

/// `HVMOP_*`, hvm/hvm_op.h.
pub const HVM: &[Op] = &[
    (0, "HVMOP_set_param"),
    (1, "HVMOP_get_param"),
    (5, "HVMOP_flush_tlbs"),
    (9, "HVMOP_pagetable_dying"),
    (10, "HVMOP_get_time"),
    (11, "HVMOP_xentrace"),
    (12, "HVMOP_set_mem_access"),
    (13, "HVMOP_get_mem_access"),
    (15, "HVMOP_get_mem_type"),
    (23, "HVMOP_set_evtchn_upcall_vector"),
    (24, "HVMOP_guest_request_vm_event"),
    (25, "HVMOP_altp2m"),
];

/// `XENOPROF_*`, xenoprof.h.
pub const XENOPROF: &[Op] = &[
    (0, "XENOPROF_init"),
    (1, "XENOPROF_reset_active_list"),
    (2, "XENOPROF_reset_passive_list"),
    (3, "XENOPROF_set_active"),
    (4, "XENOPROF_set_passive"),
    (5, "XENOPROF_reserve_counters"),
    (6, "XENOPROF_counter"),
    (7, "XENOPROF_setup_events"),
    (8, "XENOPROF_enable_virq"),
    (9, "XENOPROF_start"),
    (10, "XENOPROF_stop"),
    (11, "XENOPROF_disable_virq"),
    (12, "XENOPROF_release_counters"),
    (13, "XENOPROF_shutdown"),
    (14, "XENOPROF_get_buffer"),
    (15, "XENOPROF_set_backtrace"),
    (16, "XENOPROF_get_ibs_caps"),
    (17, "XENOPROF_ibs_counter"),
];

/// `XEN_ARGO_OP_*`, argo.h.
pub const ARGO: &[Op] = &[
    (1, "XEN_ARGO_OP_register_ring"),
    (2, "XEN_ARGO_OP_unregister_ring"),
    (3, "XEN_ARGO_OP_sendv"),
    (4, "XEN_ARGO_OP_notify"),
];

/// `XENPMU_*`, pmu.h.
pub const XENPMU: &[Op] = &[
    (0, "XENPMU_mode_get"),
    (1, "XENPMU_mode_set"),
    (2, "XENPMU_feature_get"),
    (3, "XENPMU_feature_set"),
    (4, "XENPMU_init"),
    (5, "XENPMU_finish"),
    (6, "XENPMU_lvtpc_set"),
    (7, "XENPMU_flush"),
];

/// `XEN_MC_*`, arch-x86/xen-mca.h (`arch_0`).
pub const MACHINE_CHECK: &[Op] = &[
    (1, "XEN_MC_fetch"),
    (2, "XEN_MC_notifydomain"),
    (3, "XEN_MC_physcpuinfo"),
    (4, "XEN_MC_msrinject"),
    (5, "XEN_MC_mceinject"),
    (6, "XEN_MC_inject_v2"),
];
