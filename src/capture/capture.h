// A capture: the forward pass with observers that write the dump.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "families/checkpoint.h"
#include "model/batch.h"

namespace spikescope {

struct CaptureRequest {
  std::vector<std::string> points;              ///< hook points by exact name or glob
  std::vector<std::string> points_if_any = {};  ///< the same, left out where the model has none
  bool sinks = false;                           ///< SinkStatistics of each block
  bool writers = false;                         ///< WriterRows of each block
  bool losses = false;                          ///< next-token losses; UsageError for a model that predicts none
  Pixels pixels = {};                           ///< images, for a model of images
  /// Asked after each layer: whether to stop there, in a way that DumpOptions::resume can go on from.
  std::function<bool()> stop = {};
  /// At most so often is a state kept that a killed run can be resumed from.
  double state_seconds = 1.0;
  DumpOptions storage;
};

struct CaptureSummary {
  std::vector<std::string> points;  ///< captured hook points by name
  int64_t tokens = 0, prompts = 0;
  int64_t dump_bytes = 0;       ///< estimated before the run
  double seconds = 0.0;         ///< from the first layer to the finished dump
  double weight_seconds = 0.0;  ///< of these, spent converting weights
  int64_t weight_bytes = 0;     ///< read from the weight files; their size, if every byte was read once
  double mean_loss = 0.0;       ///< nats a token; NaN without losses
  int64_t resumed_layer = 0;    ///< > 0: the layer that a resumed run began with
  int64_t stopped_layer = 0;    ///< > 0: the run was stopped before this layer; there is no dump yet
};

/// Hook points of the architecture that the names and globs select, in the order of the pass. Throws UsageError for an
/// exact name the architecture does not have, or a glob that selects nothing; of `if_any` those are left out.
std::vector<HookPoint> select_points(const Architecture& architecture, const std::vector<std::string>& names,
                                     const std::vector<std::string>& if_any = {});

/// Runs the prompts and writes OUT/dump. An earlier dump is replaced when the new one is whole. Throws Error as
/// run_model and DumpWriter do, and when the disk has less room than the dump will take.
CaptureSummary capture(const Checkpoint& checkpoint, const DumpTokens& tokens, DumpInfo info,
                       const CaptureRequest& request, const std::filesystem::path& out,
                       const std::function<void(double)>& progress);

}  // namespace spikescope
