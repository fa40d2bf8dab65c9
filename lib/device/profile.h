/* device/profile.h - where a step's time goes: every operation timed by class.
 *
 * lt_profile_attach puts a table of timing wrappers in front of a device's operations; each one
 * waits for the device, so a profiled step is slower than a free one, by little on the CPU. */
#ifndef LT_DEVICE_PROFILE_H
#define LT_DEVICE_PROFILE_H

#include "device/device.h"

typedef enum lt_op_class {
    LT_CLASS_MATMUL,
    LT_CLASS_ATTENTION,
    LT_CLASS_NORM,
    LT_CLASS_HEAD, /* LM head and cross entropy, its matmuls included */
    LT_CLASS_EMBED,
    LT_CLASS_POINTWISE, /* activations, column sums, copies */
    LT_CLASS_OPTIMIZER, /* norms and AdamW */
    LT_N_CLASSES,
} lt_op_class;

typedef struct lt_profile {
    double seconds[LT_N_CLASSES];
    uint64_t calls[LT_N_CLASSES];
} lt_profile;

const char *lt_op_class_name(lt_op_class c);

/* Until lt_profile_detach; one device at a time, `into` is added to. */
void lt_profile_attach(lt_dev *dev, lt_profile *into);
void lt_profile_detach(lt_dev *dev);

#endif
