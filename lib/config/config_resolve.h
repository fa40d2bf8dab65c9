/* config/config_resolve.h - what follows from the given settings, without opening a file. */
#ifndef LT_CONFIG_CONFIG_RESOLVE_H
#define LT_CONFIG_CONFIG_RESOLVE_H

#include "config/config.h"

LT_MUST_USE lt_err lt_config_resolve(lt_config *c);

#endif
