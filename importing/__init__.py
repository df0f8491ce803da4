"""Relevance data as others publish it becomes tables that every command takes."""
