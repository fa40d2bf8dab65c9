/* tools/ckpt/ckpt_tool.h - the three things lt-ckpt-merge does with an open checkpoint. */
#ifndef LT_TOOLS_CKPT_TOOL_H
#define LT_TOOLS_CKPT_TOOL_H

#include "ckpt/hf_export.h"

LT_MUST_USE lt_err tool_info(lt_ckpt *c, bool json);
LT_MUST_USE lt_err tool_verify(lt_ckpt *c);
LT_MUST_USE lt_err tool_merge(lt_ckpt *c, const char *folder, const lt_hf_export_options *o);

#endif
