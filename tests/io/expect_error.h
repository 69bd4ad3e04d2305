// Checks of error messages: one line that says what the reader needs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "base/error.h"

namespace spikescope::testing {

/// Expects that `call` throws an Error of one line that contains all `parts`.
template <class Call>
void expect_error(Call&& call, std::initializer_list<std::string> parts) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 1000u) << message;
    for (const std::string& part : parts) EXPECT_THAT(message, ::testing::HasSubstr(part));
    return;
  }
  ADD_FAILURE() << "no Error; expected one with \"" << (parts.size() ? *parts.begin() : "") << '"';
}

}  // namespace spikescope::testing
